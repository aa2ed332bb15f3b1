package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkAppend compares Append with plain sequential writes to one file,
// each followed by fsync.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{100 << 10, 1 << 20} {
		data := make([]byte, size)
		b.Run(fmt.Sprintf("%dKiB/spool", size>>10), func(b *testing.B) {
			l := open(b, filepath.Join(b.TempDir(), "l"), Config{MaxBytes: 1 << 40})
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := l.Append([]Payload{{data}}, true); err != nil {
					b.Fatal(err)
				}
			}
			l.closeFiles()
		})
		b.Run(fmt.Sprintf("%dKiB/plain", size>>10), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "f"))
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := f.Write(data); err != nil {
					b.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
			}
			f.Close()
		})
	}
}

// BenchmarkRead reads and acknowledges what is in the page cache.
func BenchmarkRead(b *testing.B) {
	data := make([]byte, 100<<10)
	l := open(b, filepath.Join(b.TempDir(), "l"), Config{MaxBytes: 1 << 40})
	for range 1000 {
		if _, err := l.Append([]Payload{{data}}, false); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(100 << 10)
	buf := make([]byte, 4<<20)
	for i := 0; i < b.N; {
		batch, _, err := l.Read(buf, b.N-i)
		if err != nil {
			b.Fatal(err)
		}
		if i += len(batch.Records); len(batch.Records) == 0 {
			l.Rewind()
		}
	}
	l.closeFiles()
}
