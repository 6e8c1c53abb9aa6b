package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"keyturn/pkg/pam"
)

// Find returns the record named by s: a UID, else a path ("/Prod/SRV1",
// "Prod/SRV1" or "./SRV1" from cwd), else an exact title anywhere. Case decides
// only when it has to: what matches exactly goes before what matches without
// case. ErrNotFound; ErrAmbiguous lists the candidates with type, path and UID in
// the message.
func (v *Vault) Find(ctx context.Context, s string, cwd pam.UID) (h pam.Head, err error) {
	err = v.view(ctx, func(t *txn) error {
		h, err = t.findNamed(ctx, s, cwd)
		return err
	})
	return h, err
}

// Look finds a record as Find does, and returns all of it and the path of its
// folder, as they were at one moment. The password field of a pamUser is a view of
// its account's current generation.
func (v *Vault) Look(ctx context.Context, s string, cwd pam.UID) (r pam.Record, path string, err error) {
	err = v.view(ctx, func(t *txn) error {
		h, err := t.findNamed(ctx, s, cwd)
		if err != nil {
			return err
		}
		if path, err = t.folderPath(ctx, h.Folder); errors.Is(err, pam.ErrNotFound) {
			err = tampered("the folder of record %s is missing", h.UID)
		}
		if err == nil {
			r, _, err = t.mustWhole(ctx, h.UID)
		}
		return err
	})
	return r, path, err
}

// Called returns the records of a title, without regard to case, wherever they are.
// It costs the same whatever the vault holds, once there is a catalogue of titles.
func (v *Vault) Called(ctx context.Context, title string) (heads []pam.Head, err error) {
	err = v.view(ctx, func(t *txn) error {
		all, err := t.called(ctx, title)
		for _, h := range all {
			if strings.EqualFold(h.Title, title) {
				heads = append(heads, h)
			}
		}
		return err
	})
	return heads, err
}

func (t *txn) findNamed(ctx context.Context, s string, cwd pam.UID) (pam.Head, error) {
	if pam.IsUID(s) {
		h, found, err := load[pam.Head](ctx, t, rowKey(groupHead, pam.UID(s)))
		if err != nil || found {
			return h, err
		}
	}
	return t.find(ctx, s, cwd)
}

// find looks for a title or path. The folders are read for a path only, and to
// tell records of one title apart.
func (t *txn) find(ctx context.Context, s string, cwd pam.UID) (pam.Head, error) {
	heads, err := t.called(ctx, s)
	if err != nil {
		return pam.Head{}, err
	}
	dir, name := pam.CutPath(s)
	if dir == "" {
		h, err := find(heads, folderTree{}, s, cwd)
		if !errors.Is(err, pam.ErrAmbiguous) {
			return h, err
		}
	} else if t.catalogued() {
		more, err := t.called(ctx, name)
		if err != nil {
			return pam.Head{}, err
		}
		heads = append(heads, more...)
		sortHeads(heads)
	}
	tree, err := t.tree(ctx)
	if err != nil {
		return pam.Head{}, err
	}
	return find(heads, tree, s, cwd)
}

func find(heads []pam.Head, tree folderTree, s string, cwd pam.UID) (pam.Head, error) {
	inFolder := func(pam.Head) bool { return true }
	title := s
	if dir, name := pam.CutPath(s); dir != "" {
		folder, err := tree.resolve(dir, cwd)
		switch {
		case err == nil:
			title, inFolder = name, func(h pam.Head) bool { return h.Folder == folder }
		case !errors.Is(err, pam.ErrNotFound):
			return pam.Head{}, err
		}
	}
	anywhere := func(pam.Head) bool { return true }
	for _, try := range []struct {
		title string
		in    func(pam.Head) bool
		same  func(a, b string) bool
	}{
		{title, inFolder, exactly},
		{title, inFolder, strings.EqualFold},
		{s, anywhere, exactly},
		{s, anywhere, strings.EqualFold},
	} {
		var found []pam.Head
		for _, h := range heads {
			if try.same(h.Title, try.title) && try.in(h) {
				found = append(found, h)
			}
		}
		if len(found) == 1 {
			return found[0], nil
		}
		if len(found) > 1 {
			return pam.Head{}, ambiguous(found, tree, s)
		}
	}
	return pam.Head{}, pam.Errorf(pam.ErrNotFound, "there is no record %q", s).WithHint("keyturn search lists what there is")
}

func exactly(a, b string) bool { return a == b }

const maxCandidates = 10

func ambiguous(found []pam.Head, tree folderTree, s string) error {
	var b strings.Builder
	for i, h := range found {
		if i == maxCandidates {
			fmt.Fprintf(&b, " and %d more", len(found)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %s (%s)", h.Type, tree.recordPath(h), h.UID)
	}
	return pam.Errorf(pam.ErrAmbiguous, "%d records are called %q: %s", len(found), s, b.String()).
		WithHint("name one by its path or UID")
}
