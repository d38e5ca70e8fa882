"""Walking the slabs, the table and the lists; an AssertionError tells what is wrong."""
from libc.stdint cimport uint32_t, uint64_t

from cachecore_ext.storage.item cimport Item, item_key, item_meta, item_nkey, item_size
from cachecore_ext.storage.lru cimport SEGMENTS, WARM, LruSegment, Segment, item_segment, lru_id
from cachecore_ext.storage.slabs cimport PAGE_SIZE, SlabClass, chunk_at, chunk_page, page_chunk, page_class
from cachecore_ext.storage.table cimport (
    SLOTS, Bucket, bucket_next, hash_tag, table_bucket, table_find_locked, table_stripe,
)


cdef set free_chunks(const Slabs *slabs, uint32_t page):
    """The chunks in a page's list of freed ones."""
    cdef uint32_t ref = slabs.page[page].free_head
    cdef const Item *chunk
    found = set()
    while ref != 0:
        assert ref not in found, f"page {page}: a free chunk twice"
        found.add(ref)
        chunk = <const Item *>chunk_at(slabs, ref)
        assert chunk_page(slabs, chunk) == page, f"page {page}: a free chunk of another page"
        assert item_meta(chunk) == 0, f"page {page}: a free chunk that looks like an item"
        ref = chunk.next
    return found


cdef dict slabs_census(const Slabs *slabs):
    """For every class that owns a page: its chunks, and how many of them are free, fresh and used."""
    cdef const SlabClass *slab
    cdef uint32_t cls, number, page
    cdef const Item *chunk
    pool = set()
    number = slabs.pool
    while number != 0:
        assert number not in pool and page_class(slabs, number - 1) == 0, "the pool"
        pool.add(number)
        number = slabs.page[number - 1].next
    assert <uint32_t>len(pool) == slabs.pooled
    found = {}
    for cls in range(1, slabs.nclasses + 1):
        slab = &slabs.classes[cls]
        free, fresh, pages = 0, 0, 0
        listed = set()
        number = slab.open
        while number != 0:
            assert number not in listed, f"class {cls}: a page twice"
            listed.add(number)
            number = slabs.page[number - 1].next
        for page in range(slabs.pages):
            if page_class(slabs, page) != cls:
                continue
            pages += 1
            assert <uint32_t>len(free_chunks(slabs, page)) == slabs.page[page].free_count
            for i in range(slab.per_page - slabs.page[page].fresh_left, slab.per_page):
                chunk = <const Item *>page_chunk(slabs, page, slab.size, i)
                assert item_meta(chunk) == 0, f"page {page}: a fresh chunk that looks like an item"
            free += slabs.page[page].free_count
            fresh += slabs.page[page].fresh_left
            has_some = slabs.page[page].free_count + slabs.page[page].fresh_left > 0
            assert (page + 1 in listed) == (has_some and not slabs.page[page].leaving), f"page {page}: open"
        assert <uint64_t>(free + fresh) == slab.free_count, f"class {cls}: {free} + {fresh}, counted {slab.free_count}"
        assert slab.per_page * <uint64_t>slab.size <= PAGE_SIZE
        assert <uint64_t>pages == slab.pages, f"class {cls}: {slab.pages} pages, but {pages} say so"
        if pages:
            found[cls] = {
                "size": slab.size, "pages": pages, "free": free, "fresh": fresh,
                "used": pages * slab.per_page - free - fresh,
            }
    owned = sum([of["pages"] for of in found.values()])
    assert owned == slabs.owned and owned + len(pool) == slabs.pages, "pages are lost"
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
                    assert bucket.ref[slot] == 0 or bucket.ref[slot] >> 16, f"bucket {index}: a ghost without a mark"
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


cdef list segment_census(Lru *lru, uint32_t cls, Segment segment):
    """The references in a segment, from head to tail; links, number and bytes agree."""
    cdef LruSegment *of = &lru.classes[cls].segment[<int>segment]
    cdef uint32_t ref = of.head, before = 0
    cdef uint64_t bytes_found = 0
    cdef Item *item
    found = []
    where = f"class {cls} segment {<int>segment}"
    while ref != 0:
        item = <Item *>chunk_at(lru.slabs, ref)
        assert <uint64_t>len(found) < of.number, f"{where}: longer than its number {of.number}"
        assert item.prev == before, f"{where}: a link back that is not the way there"
        assert item_nkey(item) != 0, f"{where}: a chunk that is no item"
        assert lru_id(lru.slabs, item) == cls, f"{where}: an item of another class"
        assert item_segment(item) == segment, f"{where}: an item of another segment"
        bytes_found += item_size(item)
        found.append(ref)
        before = ref
        ref = item.next
    assert of.tail == before, f"{where}: the tail is not the last"
    assert of.number == <uint64_t>len(found), f"{where}: {len(found)} items, counted {of.number}"
    assert of.bytes == bytes_found, f"{where}: {bytes_found} bytes, counted {of.bytes}"
    return found


cdef list lru_census(Lru *lru, uint32_t cls):
    """The references in each of a class's segments."""
    assert lru.classes[cls].lock.word == 0, f"class {cls}: locked"
    found = [segment_census(lru, cls, <Segment>segment) for segment in range(<int>SEGMENTS)]
    hand = lru.classes[cls].hand
    assert hand == 0 or hand in found[<int>WARM], f"class {cls}: the hand points to what is not in WARM"
    return found
