package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/framedb/framedb/client/wire"
)

// ServeTag implements deploy.Driver. The link is relative, so that it leads to
// the same socket where the directory is mounted elsewhere.
func (d *Driver) ServeTag(_ context.Context, tag wire.NodeTag, member wire.FrameDBID) error {
	if err := tag.Validate(); err != nil {
		return wire.InField("node_tag", err)
	}
	if _, _, clash := wire.FrameDBID(tag).SplitMember(); clash {
		return wire.InField("node_tag", wire.Errorf(wire.CodeInvalidArgument, "%q is spelled like a member's ID: its socket has that name", tag))
	}
	link := filepath.Join(d.cfg.SocketDir, string(tag)+".sock")
	if len(link) > maxSocketPath {
		return wire.InField("node_tag", wire.Errorf(wire.CodeInvalidArgument, "%s has %d bytes: unix socket paths end at %d bytes, so choose a shorter socket_dir or tag", link, len(link), maxSocketPath))
	}
	d.tags.Lock()
	defer d.tags.Unlock()
	if err := mayReplace(link); err != nil {
		return err
	}
	if member == "" {
		return removeFile(link)
	}
	if err := member.Validate(); err != nil {
		return wire.InField("framedb_id", err)
	}
	return replaceLink(link, string(member)+".sock")
}

// mayReplace refuses what is no link: somebody else's socket, such as the
// agent's.
func mayReplace(link string) error {
	info, err := os.Lstat(link)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at %s: %w", link, err)
	case info.Mode()&fs.ModeSymlink == 0:
		return wire.InField("node_tag", wire.Errorf(wire.CodeConflict, "%s is there already and no link of a tag: rename the tag or set another socket_dir", link))
	}
	return nil
}

func replaceLink(link, target string) error {
	if now, err := os.Readlink(link); err == nil && now == target {
		return nil
	}
	fresh := link + ".new"
	if err := removeFile(fresh); err != nil {
		return err
	}
	if err := os.Symlink(target, fresh); err != nil {
		return fileError(fresh, err)
	}
	if err := os.Rename(fresh, link); err != nil {
		os.Remove(fresh)
		return fileError(link, err)
	}
	return nil
}

// dropLinks removes the tags' links to a member's socket that is going.
func (d *Driver) dropLinks(id wire.FrameDBID) error {
	d.tags.Lock()
	defer d.tags.Unlock()
	entries, err := os.ReadDir(d.cfg.SocketDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list the sockets: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(d.cfg.SocketDir, e.Name())
		if e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		if target, err := os.Readlink(path); err != nil || target != string(id)+".sock" {
			continue
		}
		if err := removeFile(path); err != nil {
			return err
		}
	}
	return nil
}

// removeFile removes a file; none is success.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
