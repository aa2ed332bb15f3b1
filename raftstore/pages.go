package raftstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
)

// A bbolt file, in the machine's byte order:
//
//	page    id (8), flags (2), count (2), overflow (4): how many more pages
//	        belong to it
//	meta    pages 0 and 1: magic (4), version (4), page size (4), flags (4),
//	        root page (8), sequence (8), freelist page (8), how many pages
//	        there are (8), transaction (8), FNV-1a of all that (8)
//	branch  count times: offset of the key from here (4), its length (4), page (8)
//	leaf    count times: flags (4), offset of key and value from here (4),
//	        length of the key (4), of the value (4)
//	bucket  a value: root page (8), sequence (8); without a root page the
//	        bucket is a leaf that follows
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2
	noFreelist  = math.MaxUint64

	pageHeader = 16
	metaSize   = 56 // without the sum
	element    = 16
	bucketSize = 16

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10
	bucketValue  = 0x01
)

var order = binary.NativeEndian

// checkPages returns why bbolt would die reading the keys of a file, nil if it
// would not: it maps the file and trusts what it finds. Both meta pages have to
// be whole, since without the newer one bbolt goes back by a transaction. What
// the values are is not looked at.
func checkPages(f io.ReaderAt, size int64) error {
	first, err := readMeta(f, 0)
	if err != nil {
		return err
	}
	newest, err := readMeta(f, first.pageSize)
	if err != nil {
		return err
	}
	if first.transaction > newest.transaction {
		newest = first
	}
	if newest.pages > uint64(size)/newest.pageSize {
		return fmt.Errorf("%d pages of %d bytes are missing at its end", newest.pages-uint64(size)/newest.pageSize, newest.pageSize)
	}
	c := checker{file: f, pageSize: newest.pageSize, seen: make([]bool, newest.pages)}
	if newest.freelist != noFreelist {
		if p, err := c.page(newest.freelist); err != nil || p.flags != freelistPage {
			return errors.Join(fmt.Errorf("page %d is no list of free pages", newest.freelist), err)
		}
	}
	return c.tree(newest.root, nil, nil)
}

type meta struct{ pageSize, root, freelist, pages, transaction uint64 }

func readMeta(f io.ReaderAt, at uint64) (meta, error) {
	b := make([]byte, pageHeader+metaSize+8)
	if _, err := f.ReadAt(b, int64(at)); err != nil {
		return meta{}, fmt.Errorf("read the meta page at %d: %w", at, err)
	}
	b = b[pageHeader:]
	sum := fnv.New64a()
	sum.Write(b[:metaSize])
	m := meta{
		pageSize: uint64(order.Uint32(b[8:])), root: order.Uint64(b[16:]), freelist: order.Uint64(b[32:]),
		pages: order.Uint64(b[40:]), transaction: order.Uint64(b[48:]),
	}
	if order.Uint32(b) != boltMagic || order.Uint32(b[4:]) != boltVersion || order.Uint64(b[metaSize:]) != sum.Sum64() || m.pageSize < 1024 {
		return meta{}, fmt.Errorf("the meta page at %d is not one", at)
	}
	return m, nil
}

type checker struct {
	file     io.ReaderAt
	pageSize uint64
	seen     []bool // by page: something refers to it
}

// page is one page with those that belong to it, or a bucket inside of one.
type page struct {
	file         io.ReaderAt
	start, size  uint64 // bytes
	head         []byte // the first bytes
	flags, count uint16
}

// page reads a page that nothing else refers to.
func (c *checker) page(id uint64) (*page, error) {
	if id < 2 || id >= uint64(len(c.seen)) {
		return nil, fmt.Errorf("there is no page %d", id)
	}
	p := &page{file: c.file, start: id * c.pageSize, size: c.pageSize}
	var err error
	if p.head, err = p.at(0, c.pageSize); err != nil {
		return nil, err
	}
	if order.Uint64(p.head) != id {
		return nil, fmt.Errorf("page %d says that it is %d", id, order.Uint64(p.head))
	}
	end := id + 1 + uint64(order.Uint32(p.head[12:]))
	if end > uint64(len(c.seen)) {
		return nil, fmt.Errorf("page %d goes on behind the last one", id)
	}
	for i := id; i < end; i++ {
		if c.seen[i] {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		c.seen[i] = true
	}
	p.size = (end - id) * c.pageSize
	return p, p.parse()
}

func (p *page) parse() error {
	head, err := p.at(0, pageHeader)
	if err != nil {
		return err
	}
	p.flags, p.count = order.Uint16(head[8:]), order.Uint16(head[10:])
	return nil
}

// at returns n bytes of the page.
func (p *page) at(offset, n uint64) ([]byte, error) {
	if offset+n > p.size {
		return nil, fmt.Errorf("something at %d is longer than its page", p.start)
	}
	if offset+n <= uint64(len(p.head)) {
		return p.head[offset : offset+n], nil
	}
	b := make([]byte, n)
	if _, err := p.file.ReadAt(b, int64(p.start+offset)); err != nil {
		return nil, fmt.Errorf("read at %d: %w", p.start+offset, err)
	}
	return b, nil
}

// tree checks a page and all below it: keys ascend from low on, and are below
// high unless that is nil.
func (c *checker) tree(id uint64, low, high []byte) error {
	p, err := c.page(id)
	if err != nil {
		return err
	}
	switch p.flags {
	case branchPage:
		return c.branch(p, low, high)
	case leafPage:
		return c.leaf(p, low, high)
	}
	return fmt.Errorf("page %d is of no known kind", id)
}

func (c *checker) branch(p *page, low, high []byte) error {
	keys, children := make([][]byte, p.count), make([]uint64, p.count)
	next := p.firstKey()
	for i := range keys {
		at := pageHeader + element*uint64(i)
		e, err := p.at(at, element)
		if err != nil {
			return err
		}
		length := uint64(order.Uint32(e[4:]))
		if keys[i], err = p.at(next, length); err != nil || at+uint64(order.Uint32(e)) != next {
			return errors.Join(p.wrong(i), err)
		}
		next += length
		children[i] = order.Uint64(e[8:])
	}
	if err := p.ascend(keys, low, high); err != nil {
		return err
	}
	for i, child := range children {
		below := high
		if i+1 < len(keys) {
			below = keys[i+1]
		}
		if err := c.tree(child, keys[i], below); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) leaf(p *page, low, high []byte) error {
	keys := make([][]byte, p.count)
	next := p.firstKey()
	for i := range keys {
		at := pageHeader + element*uint64(i)
		e, err := p.at(at, element)
		if err != nil {
			return err
		}
		flags, length, value := order.Uint32(e), uint64(order.Uint32(e[8:])), uint64(order.Uint32(e[12:]))
		if keys[i], err = p.at(next, length); err != nil || at+uint64(order.Uint32(e[4:])) != next || next+length+value > p.size || flags > bucketValue {
			return errors.Join(p.wrong(i), err)
		}
		next += length
		if flags == bucketValue {
			if err := c.bucket(&page{file: p.file, start: p.start + next, size: value}); err != nil {
				return err
			}
		}
		next += value
	}
	return p.ascend(keys, low, high)
}

// firstKey is where what the elements tell of begins. bbolt leaves no gaps.
func (p *page) firstKey() uint64 { return pageHeader + element*uint64(p.count) }

func (p *page) wrong(element int) error {
	return fmt.Errorf("element %d of the page at %d is wrong", element, p.start)
}

// bucket checks the bucket that a value is.
func (c *checker) bucket(value *page) error {
	b, err := value.at(0, bucketSize)
	if err != nil {
		return err
	}
	if root := order.Uint64(b); root != 0 {
		return c.tree(root, nil, nil)
	}
	inline := &page{file: c.file, start: value.start + bucketSize, size: value.size - bucketSize}
	if err := inline.parse(); err != nil {
		return err
	}
	if inline.flags != leafPage {
		return fmt.Errorf("the bucket at %d is of no known kind", value.start)
	}
	return c.leaf(inline, nil, nil)
}

func (p *page) ascend(keys [][]byte, low, high []byte) error {
	for i, key := range keys {
		if i == 0 && bytes.Compare(key, low) < 0 || i > 0 && bytes.Compare(key, keys[i-1]) <= 0 || high != nil && bytes.Compare(key, high) >= 0 {
			return fmt.Errorf("the keys of the page at %d are out of order", p.start)
		}
	}
	return nil
}
