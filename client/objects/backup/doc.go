// Package backup keeps copies of the objects of FrameDBs, whatever holds them,
// in S3-compatible storage, and brings them back into any FrameDB.
//
//	repo, err := backup.New(target, backup.Config{})
//	defer repo.Close()
//	report, err := repo.Backup(ctx, "tidb-1", store, backup.Options{Name: "before-upgrade"})
//	found, err := repo.List(ctx, "tidb-1")
//	restored, err := repo.Restore(ctx, "tidb-1", "before-upgrade", other, backup.RestoreOptions{})
//
// A backup is complete or not there. One that was interrupted and is made
// again sends only what S3 has not yet; the same holds for a restore. Backups
// of one FrameDB share what they have in common, and deleting one never takes
// anything from another. DESIGN.md says how, and byte by byte what is stored.
package backup
