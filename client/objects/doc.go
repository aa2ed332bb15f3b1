// Package objects keeps objects by key in one FrameDB, whatever holds it: rows
// of TiDB, keys of Redis, or what comes later. Store is what callers use; a
// Backend is what knows a database. Nothing outside a backend knows SQL or
// Redis commands.
//
//	store := objects.New(backend)
//	info, err := store.Put(ctx, "crops/7.png", file, objects.PutOptions{ContentType: "image/png"})
//	r, err := store.Get(ctx, "crops/7.png", objects.GetOptions{})
//	defer r.Close()
//	_, err = io.Copy(w, r) // nil only when every byte was the byte that was stored
package objects
