// Package pool opens the objects of any FrameDB by its ID and keeps what is
// open for a while. A Locator says where a FrameDB is and how to log in: an
// agent asks its store, a client asks an agent.
//
//	p := pool.New(pool.Config{Locator: locator})
//	defer p.Close()
//	store := p.Store("corpus")
//	info, err := store.Stat(ctx, "a/b")
//
// A Store asks the Locator at each call, so it follows a FrameDB that moves,
// and a password that changes. It opens what it needs then, and gives it back
// when the call, or the reader that it returned, ends.
package pool
