package vault

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"keyturn/pkg/pam"
)

// An Import is one record that comes from elsewhere, and the names of the folders
// that it goes into.
type Import struct {
	Record pam.Record
	Folder []string
}

// ImportOptions say how records are taken over.
type ImportOptions struct {
	Under         pam.UID // the folder for everything; "" is the root
	Configuration pam.UID // of new machines; "" is none
	Update        bool    // change records that are there already
	DryRun        bool    // check everything, change nothing
	// On hears how many records are done, after each; nil is nobody. It is called
	// within the transaction and must not use the vault.
	On func(done int)
}

// An ImportAction is what becomes of an imported record.
type ImportAction string

// What can become of it.
const (
	ImportAdd    ImportAction = "add"
	ImportUpdate ImportAction = "update"
	ImportSkip   ImportAction = "skip" // it is there already
)

// ImportError says at which record of an import it failed.
type ImportError struct {
	Index int
	Field string // of the file, where it is not a record's own field; may be empty
	Err   error
}

// Error returns the cause's text.
func (e *ImportError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ImportError) Unwrap() error { return e.Err }

var errDryRun = errors.New("a dry run is not kept")

// Import adds records, with the folders they need, all of them or none. A record
// keeps its UID unless another record has it. One that is there already is
// skipped or, with Update, changed as by UpdateRecord; its folder stays. A record
// is known by its UID. One without is known by its folder, type, title and what a
// list shows of it, its login or host, among what was there before the import: a
// file may hold two that are alike.
// The error is an [ImportError] when it is about one record.
func (v *Vault) Import(ctx context.Context, records []Import, o ImportOptions) ([]ImportAction, error) {
	actions := make([]ImportAction, len(records))
	err := v.update(ctx, "import records", func(t *txn) error {
		imp, err := t.importer(ctx, o)
		if err != nil {
			return err
		}
		if err := imp.records(ctx, records, actions); err != nil {
			return err
		}
		if o.DryRun {
			return errDryRun
		}
		return t.audit(ctx, "vault.import", v.id, "%d records", len(records))
	})
	if o.DryRun && errors.Is(err, errDryRun) {
		err = nil
	}
	return actions, err
}

// An importer is one import at work.
type importer struct {
	*txn
	tree  folderTree
	o     ImportOptions
	made  map[place]pam.UID   // the folders that were asked for so far
	added map[pam.UID]pam.UID // what was added: the UID that was asked for, and the one it got
	// alike is what was there before the import; nil until a record without a UID comes.
	alike map[likeness][]pam.UID
}

func (t *txn) importer(ctx context.Context, o ImportOptions) (*importer, error) {
	tree, err := t.tree(ctx)
	return &importer{txn: t, tree: tree, o: o, made: map[place]pam.UID{}, added: map[pam.UID]pam.UID{}}, err
}

// records imports records and notes what became of each.
func (imp *importer) records(ctx context.Context, records []Import, actions []ImportAction) error {
	for i, r := range records {
		var err error
		if actions[i], err = imp.record(ctx, r); err != nil {
			return &ImportError{Index: i, Err: err}
		}
		if imp.o.On != nil {
			imp.o.On(i + 1)
		}
	}
	return nil
}

// A place is a folder by its parent and name.
type place struct {
	parent pam.UID
	name   string
}

// A likeness is what a record without a UID is known by.
type likeness struct {
	folder         pam.UID
	typ            pam.RecordType
	title, summary string
}

func (imp *importer) record(ctx context.Context, in Import) (ImportAction, error) {
	r := in.Record
	r.Fields = slices.Clone(r.Fields)
	if err := checkText(&r); err != nil {
		return "", err
	}
	now, there, err := imp.known(ctx, &r)
	if err != nil {
		return "", err
	}
	if !there {
		if r.Folder, err = imp.folder(ctx, in.Folder); err != nil {
			return "", err
		}
		if now, there, err = imp.twin(ctx, &r); err != nil {
			return "", err
		}
	}
	defer now.Destroy()
	switch {
	case there && imp.o.Update:
		r.Folder = now.Folder
		return ImportUpdate, imp.replaceRecord(ctx, now, r)
	case there:
		return ImportSkip, nil
	}
	uid, err := imp.add(ctx, r)
	imp.added[cmp.Or(in.Record.UID, uid)] = uid
	return ImportAdd, err
}

// twin returns the record that r is by its likeness, if r has no UID, and gives r
// its UID. No record is found twice: of several that are alike the first is next,
// unless it is to be changed.
func (imp *importer) twin(ctx context.Context, r *pam.Record) (now pam.Record, there bool, err error) {
	if r.UID != "" {
		return now, false, nil
	}
	if imp.alike == nil {
		if err := imp.look(ctx); err != nil {
			return now, false, err
		}
	}
	l := likeness{r.Folder, r.Type, r.Title, summary(r)}
	uids := imp.alike[l]
	switch {
	case len(uids) == 0:
		return now, false, nil
	case len(uids) > 1 && imp.o.Update:
		return now, false, pam.Errorf(pam.ErrConflict, "%d records of that title and login are there (%s, %s); nothing changed",
			len(uids), uids[0], uids[1]).WithHint("rename or delete all but one, or import a file with UIDs (JSON)")
	}
	imp.alike[l] = uids[1:]
	r.UID = uids[0]
	return imp.txn.record(ctx, r.UID)
}

// look learns what is there before the import.
func (imp *importer) look(ctx context.Context) error {
	heads, err := imp.heads(ctx)
	if err != nil {
		return err
	}
	imp.alike = map[likeness][]pam.UID{}
	for _, h := range heads {
		if h.Revision == imp.next() {
			continue // of this import
		}
		l := likeness{h.Folder, h.Type, h.Title, h.Summary}
		imp.alike[l] = append(imp.alike[l], h.UID)
	}
	return nil
}

// known returns the record that has the UID of r already. What is no UID, or that
// of a record in the trash, is taken off r.
func (t *txn) known(ctx context.Context, r *pam.Record) (now pam.Record, there bool, err error) {
	if !pam.IsUID(string(r.UID)) {
		r.UID = ""
		return now, false, nil
	}
	now, there, err = t.record(ctx, r.UID)
	if there || err != nil {
		return now, there, err
	}
	_, binned, err := t.fetch(ctx, rowKey(groupTrash, r.UID))
	if binned {
		r.UID = ""
	}
	return now, false, err
}

func (imp *importer) add(ctx context.Context, r pam.Record) (pam.UID, error) {
	uid, err := imp.addRecord(ctx, r)
	if err != nil || imp.o.Configuration == "" || r.Type != pam.TypeMachine && r.Type != pam.TypeDirectory {
		return uid, err
	}
	return uid, imp.put(ctx, rowKey(groupResource, uid), pam.ResourceSettings{Resource: uid, Configuration: imp.o.Configuration})
}

// folder returns the folder of that path below the import's own, and makes what
// is missing of it.
func (imp *importer) folder(ctx context.Context, names []string) (pam.UID, error) {
	at := imp.o.Under
	for _, name := range names {
		p := place{at, name}
		uid, seen := imp.made[p]
		if !seen {
			var err error
			if uid, err = imp.child(ctx, at, name); err != nil {
				return "", err
			}
			imp.made[p] = uid
		}
		at = uid
	}
	return at, nil
}

// child returns the folder of that name, and makes it if it is missing.
func (imp *importer) child(ctx context.Context, parent pam.UID, name string) (pam.UID, error) {
	if f, ok := imp.tree.child(parent, name); ok {
		return f.UID, nil
	}
	if err := checkFolderName(name); err != nil {
		return "", err
	}
	uid, err := imp.newUID()
	if err != nil {
		return "", err
	}
	f := pam.Folder{UID: uid, Name: name, Parent: parent}
	if err := imp.put(ctx, rowKey(groupFolder, uid), f); err != nil {
		return "", err
	}
	imp.tree[uid] = f
	return uid, imp.audit(ctx, "folder.add", uid, "")
}

// AuditExport records the intent to write records out as plain text, before one
// is read.
func (v *Vault) AuditExport(ctx context.Context, folder pam.UID, format string, records int) error {
	return v.update(ctx, "record the export", func(t *txn) error {
		return t.audit(ctx, "vault.export", folder, "%d records as %s, with their secrets", records, format)
	})
}
