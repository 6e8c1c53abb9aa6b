package vault

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	"keyturn/pkg/pam"
)

// A folderTree is all folders by UID.
type folderTree map[pam.UID]pam.Folder

func (t *txn) tree(ctx context.Context) (folderTree, error) {
	folders, err := all[pam.Folder](ctx, t, groupFolder, every)
	tree := folderTree{}
	for _, f := range folders {
		tree[f.UID] = f
	}
	return tree, err
}

// children returns the folders in a folder, by name.
func (tree folderTree) children(parent pam.UID) []pam.Folder {
	var found []pam.Folder
	for _, f := range tree {
		if f.Parent == parent {
			found = append(found, f)
		}
	}
	slices.SortFunc(found, func(a, b pam.Folder) int {
		return cmp.Or(compareFold(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	return found
}

// walk appends the folders below parent, each before its children.
func (tree folderTree) walk(parent pam.UID, out []pam.Folder) []pam.Folder {
	for _, f := range tree.children(parent) {
		out = tree.walk(f.UID, append(out, f))
	}
	return out
}

// path returns "/Prod/DB", "/" for the root.
func (tree folderTree) path(folder pam.UID) string {
	var names []string
	for range tree {
		f, ok := tree[folder]
		if !ok {
			break
		}
		names = append(names, f.Name)
		folder = f.Parent
	}
	slices.Reverse(names)
	return "/" + pam.JoinPath(names)
}

func (tree folderTree) recordPath(h pam.Head) string {
	return strings.TrimSuffix(tree.path(h.Folder), "/") + "/" + h.Title
}

// resolve follows a path from cwd.
func (tree folderTree) resolve(path string, cwd pam.UID) (pam.UID, error) {
	if _, ok := tree[pam.UID(path)]; ok {
		return pam.UID(path), nil
	}
	at := cwd
	if strings.HasPrefix(path, "/") {
		at = ""
	}
	for _, name := range pam.SplitPath(path) {
		switch name {
		case ".":
		case "..":
			at = tree[at].Parent
		default:
			f, ok := tree.child(at, name)
			if !ok {
				return "", pam.Errorf(pam.ErrNotFound, "there is no folder %q in %s", name, tree.path(at))
			}
			at = f.UID
		}
	}
	return at, nil
}

// child finds a folder by name: names are unique in their parent without case.
func (tree folderTree) child(parent pam.UID, name string) (pam.Folder, bool) {
	for _, f := range tree {
		if f.Parent == parent && strings.EqualFold(f.Name, name) {
			return f, true
		}
	}
	return pam.Folder{}, false
}

// Folders returns all folders, parents before children, siblings by name.
func (v *Vault) Folders(ctx context.Context) ([]pam.Folder, error) {
	var folders []pam.Folder
	err := v.view(ctx, func(t *txn) error {
		tree, err := t.tree(ctx)
		folders = tree.walk("", []pam.Folder{})
		return err
	})
	return folders, err
}

// FindFolder resolves a path ("/", "..", "Prod/DB", a UID) from cwd; "" is the root. ErrNotFound.
func (v *Vault) FindFolder(ctx context.Context, path string, cwd pam.UID) (pam.UID, error) {
	var found pam.UID
	err := v.view(ctx, func(t *txn) error {
		tree, err := t.tree(ctx)
		if err != nil {
			return err
		}
		found, err = tree.resolve(path, cwd)
		return err
	})
	return found, err
}

// FolderPath returns "/Prod/DB" for a folder, "/" for the root.
func (v *Vault) FolderPath(ctx context.Context, folder pam.UID) (path string, err error) {
	err = v.view(ctx, func(t *txn) error {
		path, err = t.folderPath(ctx, folder)
		return err
	})
	return path, err
}

func (t *txn) folderPath(ctx context.Context, folder pam.UID) (string, error) {
	above := folderTree{}
	for at := folder; at != "" && above[at].UID == ""; at = above[at].Parent {
		f, found, err := load[pam.Folder](ctx, t, rowKey(groupFolder, at))
		if err != nil {
			return "", err
		}
		if !found && at == folder {
			return "", errNoFolder(folder)
		}
		if !found {
			break
		}
		above[at] = f
	}
	return above.path(folder), nil
}

func errNoFolder(folder pam.UID) error {
	return pam.Errorf(pam.ErrNotFound, "there is no folder %s", folder)
}

// AddFolder makes a folder. ErrConflict when the name is taken in its parent.
func (v *Vault) AddFolder(ctx context.Context, name string, parent pam.UID) (pam.UID, error) {
	if err := checkFolderName(name); err != nil {
		return "", err
	}
	var uid pam.UID
	err := v.update(ctx, "add folder "+name, func(t *txn) error {
		tree, err := t.tree(ctx)
		if err != nil {
			return err
		}
		if _, ok := tree[parent]; !ok && parent != "" {
			return errNoFolder(parent)
		}
		if f, taken := tree.child(parent, name); taken {
			return pam.Errorf(pam.ErrConflict, "there is a folder %s already (%s); nothing changed", tree.path(f.UID), f.UID)
		}
		if uid, err = t.newUID(); err != nil {
			return err
		}
		if err := t.put(ctx, rowKey(groupFolder, uid), pam.Folder{UID: uid, Name: name, Parent: parent}); err != nil {
			return err
		}
		return t.audit(ctx, "folder.add", uid, "")
	})
	if err != nil {
		return "", err
	}
	return uid, nil
}

// PutFolder gives a folder another name and parent; what is in it goes along.
// ErrConflict when the name is taken there, or the folder would be within itself.
func (v *Vault) PutFolder(ctx context.Context, f pam.Folder) error {
	if err := checkFolderName(f.Name); err != nil {
		return err
	}
	return v.update(ctx, "move folder "+f.Name, func(t *txn) error {
		tree, err := t.tree(ctx)
		if err != nil {
			return err
		}
		if _, ok := tree[f.UID]; !ok {
			return errNoFolder(f.UID)
		}
		if _, ok := tree[f.Parent]; !ok && f.Parent != "" {
			return errNoFolder(f.Parent)
		}
		if tree.within(f.Parent, f.UID) {
			return pam.Errorf(pam.ErrConflict, "folder %s cannot be moved into itself; nothing changed", tree.path(f.UID))
		}
		if other, taken := tree.child(f.Parent, f.Name); taken && other.UID != f.UID {
			return pam.Errorf(pam.ErrConflict, "there is a folder %s already (%s); nothing changed", tree.path(other.UID), other.UID)
		}
		if err := t.put(ctx, rowKey(groupFolder, f.UID), f); err != nil {
			return err
		}
		return t.audit(ctx, "folder.move", f.UID, "")
	})
}

// within reports whether a folder is another one, or is somewhere below it.
func (tree folderTree) within(folder, other pam.UID) bool {
	for range tree {
		if folder == other {
			return true
		}
		folder = tree[folder].Parent
	}
	return false
}

func checkFolderName(name string) error {
	if strings.TrimSpace(name) == "" || name == "." || name == ".." || strings.Trim(name, "/") != name || !utf8.ValidString(name) {
		return pam.Errorf(pam.ErrInvalidInput,
			"%q cannot be the name of a folder: it is empty, a dot name, or begins or ends with a slash; nothing changed", name)
	}
	return nil
}

// DeleteFolder removes an empty folder; ErrConflict when it is not empty.
func (v *Vault) DeleteFolder(ctx context.Context, folder pam.UID) error {
	return v.update(ctx, "delete folder "+string(folder), func(t *txn) error {
		tree, err := t.tree(ctx)
		if err != nil {
			return err
		}
		if _, ok := tree[folder]; !ok {
			return errNoFolder(folder)
		}
		heads, err := t.heads(ctx)
		if err != nil {
			return err
		}
		inside := len(tree.children(folder))
		for _, h := range heads {
			if h.Folder == folder {
				inside++
			}
		}
		if inside > 0 {
			return pam.Errorf(pam.ErrConflict, "folder %s is not empty: it holds %d entries; nothing changed", tree.path(folder), inside).
				WithHint("keyturn ls -R shows them; rm and mv take them out")
		}
		if err := t.drop(ctx, rowKey(groupFolder, folder)); err != nil {
			return err
		}
		return t.audit(ctx, "folder.delete", folder, "")
	})
}
