"""Walking the slabs, the table and the lists; an AssertionError tells what is wrong."""
from libc.stdint cimport uint32_t, uint64_t

from cachecore_ext.storage.item cimport Item, item_key, item_meta, item_nkey, item_size
from cachecore_ext.storage.lru cimport LruList, lru_id
from cachecore_ext.storage.slabs cimport PAGE_SIZE, SlabClass, chunk_at, chunk_class
from cachecore_ext.storage.table cimport (
    SLOTS, Bucket, bucket_next, hash_tag, table_bucket, table_find_locked, table_stripe,
)


cdef dict slabs_census(const Slabs *slabs):
    """For every class that owns a page: its chunks, and how many of them are free, fresh and used."""
    cdef const SlabClass *slab
    cdef const Item *chunk
    cdef uint32_t cls, ref
    cdef uint64_t pages = 0
    found = {}
    for cls in range(1, slabs.nclasses + 1):
        slab = &slabs.classes[cls]
        free = set()
        ref = slab.free_head
        while ref != 0:
            assert ref not in free, f"class {cls}: a free chunk twice"
            free.add(ref)
            chunk = <const Item *>chunk_at(slabs, ref)
            assert chunk_class(slabs, chunk) == cls, f"class {cls}: a free chunk of another class"
            assert item_meta(chunk) == 0, f"class {cls}: a free chunk that looks like an item"
            ref = chunk.next
        assert <uint64_t>len(free) == slab.free_count, f"class {cls}: {len(free)} free, counted {slab.free_count}"
        assert slab.per_page * <uint64_t>slab.size <= PAGE_SIZE
        assert slab.fresh_left <= (slab.per_page if slab.pages else 0)
        pages += slab.pages
        if slab.pages:
            found[cls] = {
                "size": slab.size, "pages": slab.pages, "free": slab.free_count, "fresh": slab.fresh_left,
                "used": slab.pages * slab.per_page - slab.free_count - slab.fresh_left,
            }
            owned = sum([slabs.page_class[page] == cls for page in range(slabs.pages)])
            assert owned == slab.pages, f"class {cls}: {slab.pages} pages, but {owned} say so"
    assert pages == slabs.pages, f"{slabs.pages} pages handed out, {pages} owned"
    return found


cdef dict table_census(Table *table, HashOf hash_of, const void *context):
    """How many items, buckets and overflow buckets, and the longest chain.

    Every chain is filled from the front; every item has its hash's tag, is in its hash's bucket, and is what its key
    finds; each stripe's count is right; every overflow bucket is in one chain or free.
    """
    cdef uint64_t index, h, items = 0, longest = 0, length, i
    cdef uint32_t slot, number, overflow = 0
    cdef Bucket *bucket
    cdef Item *item
    cdef bint ended
    stripes = [0] * <Py_ssize_t>(table.stripe_mask + 1)
    taken = bytearray(table.pool_fresh + 1)
    for index in range(table.nbuckets):
        bucket = &table.buckets[index]
        ended = False
        length = 0
        while bucket != NULL:
            for slot in range(<uint32_t>SLOTS):
                if bucket.tag[slot] == 0:
                    ended = True
                    assert bucket.ref[slot] == 0, f"bucket {index}: a free slot with a reference"
                    assert slot > 0 or length == 0, f"bucket {index}: an empty overflow bucket"
                    continue
                assert not ended, f"bucket {index}: a hole in the chain"
                item = <Item *>chunk_at(table.slabs, bucket.ref[slot])
                h = hash_of(context, item)
                assert hash_tag(h) == bucket.tag[slot], f"bucket {index}: a tag that is not the hash's"
                assert table_bucket(table, h) == &table.buckets[index], f"bucket {index}: an item that is not its"
                assert table_find_locked(table, h, item_key(item), item_nkey(item)) == item, "two of a key"
                stripes[h & table.stripe_mask] += 1
                items += 1
            length += 1
            number = bucket.next
            if number != 0:
                assert number <= table.pool_fresh and not taken[number], f"bucket {index}: another's overflow"
                taken[number] = 1
                overflow += 1
            bucket = bucket_next(table, bucket)
        longest = max(longest, length)
    for i, found in enumerate(stripes):
        assert table_stripe(table, i).items == found, f"stripe {i}: {found} items, counted otherwise"
        assert table_stripe(table, i).lock.word == 0, f"stripe {i}: locked"
    assert overflow == table.overflowed, f"{overflow} overflow buckets, counted {table.overflowed}"
    number = table.pool_free
    while number != 0:
        assert not taken[number], "a free overflow bucket in use"
        taken[number] = 1
        number = table.overflow[number - 1].next
    assert sum(taken) == table.pool_fresh, "an overflow bucket is lost"
    return {"items": items, "buckets": table.nbuckets, "overflow": overflow, "longest": longest}


cdef list lru_census(Lru *lru, uint32_t cls):
    """The references in a class's list, from head to tail; links, number and bytes agree."""
    cdef LruList *lru_list = &lru.lists[cls]
    cdef uint32_t ref = lru_list.head, before = 0
    cdef uint64_t bytes_found = 0
    cdef Item *item
    found = []
    while ref != 0:
        item = <Item *>chunk_at(lru.slabs, ref)
        assert <uint64_t>len(found) < lru_list.number, f"list {cls}: longer than its number {lru_list.number}"
        assert item.prev == before, f"list {cls}: a link back that is not the way there"
        assert item_nkey(item) != 0, f"list {cls}: a chunk that is no item"
        assert lru_id(lru.slabs, item) == cls, f"list {cls}: an item of another class"
        bytes_found += item_size(item)
        found.append(ref)
        before = ref
        ref = item.next
    assert lru_list.tail == before, f"list {cls}: the tail is not the last"
    assert lru_list.number == <uint64_t>len(found), f"list {cls}: {len(found)} items, counted {lru_list.number}"
    assert lru_list.bytes == bytes_found, f"list {cls}: {bytes_found} bytes, counted {lru_list.bytes}"
    assert lru_list.lock.word == 0, f"list {cls}: locked"
    return found
