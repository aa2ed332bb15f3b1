// Package sockets keeps the links in a socket directory by which applications
// find the master of their node tag: <dir>/<node tag>.sock leads to
// <dir>/<member>.sock.
package sockets

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/framedb/framedb/client/wire"
)

// MaxPath is sun_path of unix(7) without its closing zero.
const MaxPath = 107

const suffix = ".sock"

// Path is where a member's socket is.
func Path(dir string, member wire.FrameDBID) string {
	return filepath.Join(dir, string(member)+suffix)
}

// CheckTag refuses a tag that cannot have a link in dir.
//
// Errors: ErrInvalidArgument (the tag is no tag, too long for a unix path, or
// spelled like a member's ID).
func CheckTag(dir string, tag wire.NodeTag) error {
	if err := tag.Validate(); err != nil {
		return wire.InField("node_tag", err)
	}
	if _, _, clash := wire.FrameDBID(tag).SplitMember(); clash {
		return wire.InField("node_tag", wire.Errorf(wire.CodeInvalidArgument, "%q is spelled like a member's ID: its socket has that name", tag))
	}
	if link := tagLink(dir, tag); len(link) > MaxPath {
		return wire.InField("node_tag", wire.Errorf(wire.CodeInvalidArgument, "%s has %d bytes: unix socket paths end at %d bytes, so choose a shorter socket_dir or tag", link, len(link), MaxPath))
	}
	return nil
}

// Link leads the tag to the member's socket, in one step, or removes the link
// when member is empty. The link is relative, so that it leads to the same
// socket where the directory is mounted elsewhere. Calls for one directory must
// not overlap.
//
// Errors: those of CheckTag, ErrConflict (something that is no link has that
// name), ErrDiskFull.
func Link(dir string, tag wire.NodeTag, member wire.FrameDBID) error {
	if err := CheckTag(dir, tag); err != nil {
		return err
	}
	link := tagLink(dir, tag)
	if err := mayReplace(link); err != nil {
		return err
	}
	if member == "" {
		return Remove(link)
	}
	if err := member.Validate(); err != nil {
		return wire.InField("framedb_id", err)
	}
	return replaceLink(link, string(member)+suffix)
}

// Links are the tags' links that there are, each with what it leads to.
func Links(dir string) (map[wire.NodeTag]wire.FrameDBID, error) {
	links := map[wire.NodeTag]wire.FrameDBID{}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the sockets: %w", err)
	}
	for _, e := range entries {
		tag, isSock := strings.CutSuffix(e.Name(), suffix)
		if e.Type()&fs.ModeSymlink == 0 || !isSock {
			continue
		}
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if member, isSock := strings.CutSuffix(target, suffix); err == nil && isSock {
			links[wire.NodeTag(tag)] = wire.FrameDBID(member)
		}
	}
	return links, nil
}

// Unlink removes the tags' links to a member's socket that is going.
func Unlink(dir string, member wire.FrameDBID) error {
	links, err := Links(dir)
	if err != nil {
		return err
	}
	for tag, target := range links {
		if target != member {
			continue
		}
		if err := Remove(tagLink(dir, tag)); err != nil {
			return err
		}
	}
	return nil
}

// Remove removes a file; none is success.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func tagLink(dir string, tag wire.NodeTag) string { return filepath.Join(dir, string(tag)+suffix) }

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
	if err := Remove(fresh); err != nil {
		return err
	}
	if err := os.Symlink(target, fresh); err != nil {
		return linkError(fresh, err)
	}
	if err := os.Rename(fresh, link); err != nil {
		os.Remove(fresh)
		return linkError(link, err)
	}
	return nil
}

// linkError gives a failed write its meaning for people.
func linkError(path string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", wire.Errorf(wire.CodeDiskFull,
			"no space is left at %s: free some there or choose another socket directory", filepath.Dir(path)), err)
	}
	return fmt.Errorf("write %s: %w", path, err)
}
