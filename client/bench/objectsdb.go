package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/framedb/framedb/client/wire"
)

// errNoDatabase says that there is no server to measure with.
var errNoDatabase = errors.New("there is no mariadbd in PATH")

// database is a mariadbd of our own, on a directory of its own, over a unix
// socket and TCP.
type database struct {
	dir, socket string
	port        int
	version     string
	cmd         *exec.Cmd
	ended       chan struct{} // closed when cmd has ended
}

func startDatabase(ctx context.Context) (*database, error) {
	path, err := exec.LookPath("mariadbd")
	if err != nil {
		return nil, errNoDatabase
	}
	dir, err := os.MkdirTemp("", "fdbb") // short, for the socket
	if err != nil {
		return nil, err
	}
	d := &database{dir: dir, socket: filepath.Join(dir, "s")}
	if err := d.start(ctx, path); err != nil {
		return nil, errors.Join(err, d.remove())
	}
	return d, nil
}

func (d *database) start(ctx context.Context, path string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	d.port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	data := filepath.Join(d.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(d.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	d.cmd = exec.Command(path, "--no-defaults", "--user=root", "--datadir="+data, "--socket="+d.socket, "--pid-file="+filepath.Join(d.dir, "pid"),
		"--bind-address=127.0.0.1", fmt.Sprint("--port=", d.port), "--skip-grant-tables", "--skip-name-resolve",
		"--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin", "--innodb-buffer-pool-size=2G", "--innodb-log-file-size=512M")
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		return err
	}
	d.ended = make(chan struct{})
	go func() { d.cmd.Wait(); close(d.ended) }()
	return d.prepare(ctx)
}

// prepare waits until it answers and makes FrameDB's database.
func (d *database) prepare(ctx context.Context) error {
	db, err := d.open("")
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		if err = db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&d.version); err == nil {
			break
		}
		select {
		case <-d.ended:
			return fmt.Errorf("mariadbd ended: %v", d.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("mariadbd does not answer: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	_, err = db.ExecContext(ctx, "CREATE DATABASE "+wire.DefaultDatabase)
	return err
}

func (d *database) address() string { return fmt.Sprintf("127.0.0.1:%d", d.port) }

func (d *database) open(name string) (*sql.DB, error) {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Net, cfg.Addr, cfg.DBName = wire.DefaultStorageUser, "unix", d.socket, name
	cfg.MaxAllowedPacket, cfg.Logger = 0, &mysql.NopLogger{}
	c, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(c), nil
}

// remove ends the server and takes its data away.
func (d *database) remove() error {
	if d.ended != nil {
		d.cmd.Process.Kill()
		<-d.ended
	}
	return os.RemoveAll(d.dir)
}

// byHand is the same layout written with the driver alone: rows up to 6 MiB, as
// old clients write them, else parts of 1 MiB, eight in a transaction; without
// checksums, conditions, or anybody else.
type byHand struct {
	db                                  *sql.DB
	putRow, getRow, putChunk, getChunks *sql.Stmt
}

const (
	handRow   = 6<<20 - 4<<10
	handChunk = 1 << 20
	handBatch = 8
)

func newByHand(ctx context.Context, d *database) (*byHand, error) {
	db, err := d.open(wire.DefaultDatabase)
	if err != nil {
		return nil, err
	}
	h := &byHand{db: db}
	if _, err := db.ExecContext(ctx, "CREATE TABLE chunks (k VARCHAR(255), n INT, data MEDIUMBLOB, PRIMARY KEY (k, n))"); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	for stmt, text := range map[**sql.Stmt]string{
		&h.putRow:    "REPLACE INTO data_table (`key`, data) VALUES (?, ?)",
		&h.getRow:    "SELECT data FROM data_table WHERE `key` = ?",
		&h.putChunk:  "REPLACE INTO chunks VALUES (?, ?, ?)",
		&h.getChunks: "SELECT data FROM chunks WHERE k = ? AND n >= ? AND n < ? ORDER BY n",
	} {
		if *stmt, err = db.PrepareContext(ctx, text); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return h, nil
}

func (h *byHand) close() error { return h.db.Close() }

func (h *byHand) put(ctx context.Context, key string, r io.Reader, size int64) error {
	if size <= handRow {
		data := make([]byte, size)
		if _, err := io.ReadFull(r, data); err != nil {
			return err
		}
		_, err := h.putRow.ExecContext(ctx, key, data)
		return err
	}
	buf := make([]byte, handChunk)
	chunks := int((size + handChunk - 1) / handChunk)
	for n := 0; n < chunks; n += handBatch {
		if err := h.putBatch(ctx, key, n, min(n+handBatch, chunks), r, buf, size); err != nil {
			return err
		}
	}
	return nil
}

func (h *byHand) putBatch(ctx context.Context, key string, from, to int, r io.Reader, buf []byte, size int64) error {
	tx, err := h.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	put := tx.StmtContext(ctx, h.putChunk)
	for n := from; n < to; n++ {
		part := buf[:min(handChunk, size-int64(n)*handChunk)]
		if _, err := io.ReadFull(r, part); err != nil {
			return err
		}
		if _, err := put.ExecContext(ctx, key, n, part); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (h *byHand) get(ctx context.Context, key string, w io.Writer, size int64) error {
	if size <= handRow {
		var data []byte
		if err := h.getRow.QueryRowContext(ctx, key).Scan(&data); err != nil {
			return err
		}
		_, err := w.Write(data)
		return err
	}
	for n := 0; int64(n)*handChunk < size; n += handBatch {
		if err := h.getBatch(ctx, key, n, w); err != nil {
			return err
		}
	}
	return nil
}

func (h *byHand) getBatch(ctx context.Context, key string, from int, w io.Writer) error {
	rows, err := h.getChunks.QueryContext(ctx, key, from, from+handBatch)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var data sql.RawBytes
		if err := rows.Scan(&data); err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	return rows.Err()
}
