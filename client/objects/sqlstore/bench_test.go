package sqlstore_test

import (
	"bytes"
	"context"
	"database/sql"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/mysqltest"
	"github.com/framedb/framedb/client/objects/sqlstore"
)

// byHand is the same layout written with the driver alone: rows as old clients
// write them, and parts of 1 MiB, eight in a transaction, without checksums,
// conditions or anybody else.
type byHand struct {
	db                                  *sql.DB
	putRow, getRow, putChunk, getChunks *sql.Stmt
}

func newByHand(b *testing.B, dsn string) *byHand {
	b.Helper()
	h := &byHand{db: plain(b, dsn)}
	if _, err := h.db.Exec("CREATE TABLE chunks (k VARCHAR(255), n INT, data MEDIUMBLOB, PRIMARY KEY (k, n))"); err != nil {
		b.Fatal(err)
	}
	for stmt, text := range map[**sql.Stmt]string{
		&h.putRow:    "REPLACE INTO data_table (`key`, data) VALUES (?, ?)",
		&h.getRow:    "SELECT data FROM data_table WHERE `key` = ?",
		&h.putChunk:  "REPLACE INTO chunks VALUES (?, ?, ?)",
		&h.getChunks: "SELECT data FROM chunks WHERE k = ? AND n >= ? AND n < ? ORDER BY n",
	} {
		var err error
		if *stmt, err = h.db.Prepare(text); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { (*stmt).Close() })
	}
	return h
}

const handChunk, handBatch = 1 << 20, 8

func (h *byHand) put(key string, r io.Reader, size int64) error {
	if size <= handChunk {
		data := make([]byte, size)
		if _, err := io.ReadFull(r, data); err != nil {
			return err
		}
		_, err := h.putRow.Exec(key, data)
		return err
	}
	buf := make([]byte, handChunk)
	for n := 0; int64(n)*handChunk < size; {
		tx, err := h.db.Begin()
		if err != nil {
			return err
		}
		put := tx.Stmt(h.putChunk)
		for i := 0; i < handBatch && int64(n)*handChunk < size; i++ {
			if _, err := io.ReadFull(r, buf); err != nil {
				return err
			}
			if _, err := put.Exec(key, n, buf); err != nil {
				return err
			}
			n++
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	return nil
}

func (h *byHand) get(key string, w io.Writer, size int64) error {
	if size <= handChunk {
		var data []byte
		if err := h.getRow.QueryRow(key).Scan(&data); err != nil {
			return err
		}
		_, err := w.Write(data)
		return err
	}
	for n := 0; int64(n)*handChunk < size; n += handBatch {
		rows, err := h.getChunks.Query(key, n, n+handBatch)
		if err != nil {
			return err
		}
		for rows.Next() {
			var data sql.RawBytes
			if err := rows.Scan(&data); err != nil {
				return err
			}
			if _, err := w.Write(data); err != nil {
				return err
			}
		}
		if err := rows.Close(); err != nil {
			return err
		}
	}
	return nil
}

func benchServer(b *testing.B) (ours *objects.Store, hand *byHand) {
	b.Helper()
	s := mysqltest.Start(b, "--innodb-buffer-pool-size=2G", "--innodb-log-file-size=512M")
	dsn := s.SocketDSN()
	c, err := sqlstore.Connector(dsn)
	if err != nil {
		b.Fatal(err)
	}
	be, err := sqlstore.Open(b.Context(), sqlstore.Config{Connector: c})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { be.Close() })
	return objects.New(be), newByHand(b, dsn)
}

// BenchmarkVersusHand compares with the same chunking written by hand, on the
// same server, in turns, so that whatever else the machine does hits both. It
// reports the median throughput of each and ours as a part of theirs.
//
//	go test -run '^$' -bench VersusHand -benchtime 20x ./client/objects/sqlstore
func BenchmarkVersusHand(b *testing.B) {
	ours, hand := benchServer(b)
	for _, size := range []int64{1 << 10, 1 << 20, 256 << 20} {
		data := make([]byte, size)
		rand.NewChaCha8([32]byte{}).Read(data)
		name := strconv.FormatInt(size>>10, 10) + "KiB"
		tidy := func() { // an object is written beside the one that it replaces: by hand, too
			if _, err := hand.db.Exec("DELETE FROM chunks"); err != nil {
				b.Fatal(err)
			}
			if _, err := ours.Sweep(b.Context(), objects.SweepAges{}); err != nil {
				b.Fatal(err)
			}
		}
		put := func() error {
			_, err := ours.Put(context.Background(), "o", bytes.NewReader(data), objects.PutOptions{Size: &size})
			return err
		}
		putByHand := func() error { return hand.put("h", bytes.NewReader(data), size) }
		b.Run("put/"+name, func(b *testing.B) { versus(b, size, tidy, putByHand, put) })
		if err := putByHand(); err != nil { // tidy took it away
			b.Fatal(err)
		}
		b.Run("get/"+name, func(b *testing.B) {
			versus(b, size, func() {}, func() error { return hand.get("h", io.Discard, size) }, func() error {
				r, err := ours.Get(context.Background(), "o", objects.GetOptions{})
				if err != nil {
					return err
				}
				defer r.Close()
				_, err = io.Copy(io.Discard, r)
				return err
			})
		})
	}
}

// versus measures in turns; small transfers some at a time.
func versus(b *testing.B, size int64, tidy func(), hand, ours func() error) {
	times := max(1, int(1<<20/size/4))
	var took [2][]time.Duration
	for i := range 2 * b.N {
		who, f := i%2, hand
		if who == 1 {
			f = ours
		}
		tidy()
		start := time.Now()
		for range times {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
		took[who] = append(took[who], time.Since(start)/time.Duration(times))
	}
	var median [2]time.Duration
	for i, t := range took {
		slices.Sort(t)
		median[i] = t[len(t)/2]
	}
	b.ReportMetric(float64(size)/1e6/median[0].Seconds(), "hand-MB/s")
	b.ReportMetric(float64(size)/1e6/median[1].Seconds(), "ours-MB/s")
	b.ReportMetric(float64(median[0])/float64(median[1]), "ours/hand")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkParallel runs so many transfers of 1 MiB at one time.
func BenchmarkParallel(b *testing.B) {
	ours, _ := benchServer(b)
	const size = 1 << 20
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(data)
	for _, workers := range []int{1, 8} {
		b.Run(strconv.Itoa(workers)+"/put", func(b *testing.B) {
			parallel(b, size, workers, func(w int) error {
				_, err := ours.Put(context.Background(), objects.Key(strconv.Itoa(w)), bytes.NewReader(data), objects.PutOptions{})
				return err
			})
		})
		b.Run(strconv.Itoa(workers)+"/get", func(b *testing.B) {
			parallel(b, size, workers, func(w int) error {
				_, _, err := ours.ReadAll(context.Background(), objects.Key(strconv.Itoa(w)), size)
				return err
			})
		})
	}
}

func parallel(b *testing.B, size int64, workers int, f func(worker int) error) {
	b.SetBytes(size)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < b.N; i += workers {
				if err := f(w); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
