package objects

import (
	"context"
	"time"
)

// Backend is one database that holds objects. Store has validated what it
// hands over. All methods are safe for concurrent use. Errors are *wire.Error;
// beside those named at the methods every one of them may give ErrUnavailable
// (the database does not answer or refuses for now; nothing was changed),
// ErrOutcomeUnknown (a change was sent and its fate could not be found out),
// ErrOverloaded, ErrDiskFull, ErrForbidden, ErrTooLarge, and ctx's own error.
type Backend interface {
	// Put stores what src gives until io.EOF and makes it visible in one
	// step, in which the condition is checked. After an error of src, or any
	// other, nothing is visible. It holds at most 24 MiB of the object in
	// memory. Once that one step has begun, the end of ctx no longer stops it.
	//
	// Errors: ErrPrecondition; src's.
	Put(ctx context.Context, key Key, src *Source, opts PutOptions) (Info, error)
	// Open finds an object for reading.
	//
	// Errors: ErrNotFound, ErrCorrupt.
	Open(ctx context.Context, key Key) (Object, error)
	// Stat is Open without the bytes.
	//
	// Errors: ErrNotFound.
	Stat(ctx context.Context, key Key) (Info, error)
	// List gives one page of the objects whose keys begin with a prefix.
	List(ctx context.Context, opts ListOptions) (Page, error)
	// Delete takes an object away in one step, in which the condition is
	// checked.
	//
	// Errors: ErrNotFound, ErrPrecondition.
	Delete(ctx context.Context, key Key, cond Condition) error
	// Sweep frees what nobody can see any more.
	Sweep(ctx context.Context, ages SweepAges) (Swept, error)
	// Close lets go of all connections.
	Close() error
}

// Object is one object that was opened. It is what it was when it was opened,
// or gives an error: never parts of two. Not safe for concurrent use.
type Object interface {
	Info() Info
	// Checked reports that all bytes are in memory and that their checksum was
	// found to be that of Info: whoever reads need not compute it again.
	Checked() bool
	// Section chooses n bytes from off on, within the object; without it, all.
	Section(off, n int64)
	// Next gives the next bytes of the section, valid until the next call,
	// and io.EOF behind the last. They were checked against a checksum of
	// their part of the object where the backend has one.
	//
	// Errors: ErrCorrupt (not the bytes that were stored), ErrConflict (the
	// object was replaced or deleted meanwhile and its bytes are gone).
	Next(ctx context.Context) ([]byte, error)
	Close() error
}

// ListOptions asks for a page of objects.
type ListOptions struct {
	// Prefix of the keys; empty for all.
	Prefix string
	// Cursor is Page.Next of the page before; empty for the first.
	Cursor string
	// Limit bounds the page, 1 to MaxPage; 0 means MaxPage.
	Limit int
}

// MaxPage is the most objects of one page.
const MaxPage = 1000

// Page is a part of a listing.
type Page struct {
	// Objects, sorted by key within a page. Sums of foreign objects are not
	// computed for a listing, they are zero; and an object that another
	// program overwrote may show the size and checksum of before. Stat is
	// exact.
	Objects []Info `json:"objects"`
	// Next is the cursor of the next page; empty behind the last. A page may
	// be short, or empty, and have a next one.
	Next string `json:"next,omitempty"`
}

// SweepAges says how old something must be to be swept.
type SweepAges struct {
	// Abandoned: an upload that wrote nothing for so long is taken for dead;
	// its writer gets ErrConflict if it lives after all. Default 1 h.
	Abandoned time.Duration
	// Replaced: bytes of replaced and deleted objects are kept for so long
	// for those who read them just now. Default 10 min.
	Replaced time.Duration
}

// DefaultSweepAges gives the defaults.
func DefaultSweepAges() SweepAges {
	return SweepAges{Abandoned: time.Hour, Replaced: 10 * time.Minute}
}

// Swept says what a sweep freed.
type Swept struct {
	Expired int // objects whose time was over
	Uploads int // abandoned uploads, and bodies of replaced or deleted objects
	Chunks  int // parts of those
	Stale   int // metadata of objects that another program overwrote or deleted
}
