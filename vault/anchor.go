package vault

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

// An anchor says, outside of the vault's folder, which state of the vault was
// seen last on this computer, so that an older copy put in its place is noticed.
// It is written after a change is durable, and never decides whether that was
// one: an anchor that lags behind is as good, one that cannot be written is left
// as it was.
type anchor struct {
	Vault      pam.UID `json:"vault"`
	Epoch      int64   `json:"epoch"` // which key of the vault's
	Generation int64   `json:"generation"`
	AuditCount int64   `json:"audit_count"`
	AuditHead  []byte  `json:"audit_head"` // the chain's value there: another history has another
	// Dir is the folder of the copy that was in this state; "" is not known. It only
	// tells people where to look.
	Dir    string `json:"dir,omitempty"`
	there  bool   // there is a file that holds something
	proven bool   // this vault's key made it
}

const (
	useAnchor = "keyturn vault 1: anchor"
	maxAnchor = 16 << 10
)

// An anchorage is where a vault's anchor is kept. The zero value keeps none.
type anchorage struct {
	path  string
	named bool // a person named the file
	key   secret.Value
}

func (o Options) anchorage(key secret.Value, id string) (a anchorage, err error) {
	switch {
	case o.Anchor != "":
		a.path, a.named = o.Anchor, true
	case o.AnchorDir != "":
		a.path = filepath.Join(o.AnchorDir, id+".anchor")
	default:
		return a, nil
	}
	a.key, err = seal.Subkey(key, id, useAnchor)
	return a, err
}

func (a anchorage) mac(text []byte) []byte {
	m := hmac.New(sha256.New, a.key.Reveal())
	m.Write(text)
	return m.Sum(nil)
}

// read returns the anchor, as far as there is one.
func (a anchorage) read() anchor {
	if a.path == "" {
		return anchor{}
	}
	f, err := openNoFollow(a.path)
	if err != nil {
		_, err := os.Lstat(a.path)
		return anchor{there: err == nil}
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, maxAnchor))
	if err != nil || len(b) < sha256.Size {
		return anchor{there: err != nil || len(b) > 0}
	}
	text, mac := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	var last anchor
	if json.Unmarshal(text, &last) != nil {
		return anchor{there: true}
	}
	last.there, last.proven = true, hmac.Equal(mac, a.mac(text))
	return last
}

// write puts an anchor in the place of the old one.
func (a anchorage) write(now anchor) error {
	text, err := json.Marshal(now)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(a.path), dirMode); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(a.path), ".anchor-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, a.mac(text)...))
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), a.path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// drop leaves the anchor at the state of a transaction that is durable now.
func (v *Vault) drop(m meta) {
	if v.anchorage.path != "" {
		_ = v.anchorage.write(v.anchorOf(m)) // it lags behind then
	}
}

func (v *Vault) anchorOf(m meta) anchor {
	return anchor{Vault: v.id, Epoch: v.epoch, Generation: m.Generation, AuditCount: m.AuditCount, AuditHead: m.AuditHead, Dir: v.dir}
}

// firstAnchor makes the first anchor. A file that a person named is left alone when
// it is no anchor of this vault, and must be writable.
func (v *Vault) firstAnchor(last anchor, m meta) error {
	v.firstSeen = true
	if !v.anchorage.named {
		v.drop(m)
		return nil
	}
	if last.there && last.Vault != v.id {
		return pam.Errorf(pam.ErrInvalidInput, "%s is no anchor of this vault; it is left as it is, and nothing was done", v.anchorage.path)
	}
	if err := v.anchorage.write(v.anchorOf(m)); err != nil {
		return pam.Errorf(pam.ErrIO, "keep what is seen of the vault in %s: %w; nothing was done", v.anchorage.path, err)
	}
	return nil
}

// FirstSeen reports whether this computer had no anchor of the vault when it
// was opened: whether it is the newest copy is taken on trust.
func (v *Vault) FirstSeen() bool { return v.firstSeen }

// checkAnchor compares the vault with what was seen last. An older copy, or one
// with another history, is open for reading only.
func (t *txn) checkAnchor(ctx context.Context, last anchor) error {
	v := t.v
	if v.anchorage.path == "" {
		return nil
	}
	// What another key of the vault's left cannot be proven with this one. It may
	// be what stops a copy, and never what lets it pass.
	if !last.proven && (last.Vault != v.id || last.Epoch == v.epoch || last.Epoch < 1) {
		return v.firstAnchor(last, t.meta)
	}
	descends, err := t.descends(ctx, last)
	switch {
	case err != nil:
		return err
	case last.Epoch > v.epoch:
		v.behind = v.errBehind(last, "with another key, that it got later")
	case !descends:
		v.behind = v.errBehind(last, otherState(last.Generation, t.meta.Generation))
	case !last.proven:
		return v.firstAnchor(last, t.meta)
	}
	return nil
}

// otherState says how a copy differs from what was seen.
func otherState(seen, now int64) string {
	if now < seen {
		return fmt.Sprintf("in state %d, and this copy is in state %d, older or with another history", seen, now)
	}
	return fmt.Sprintf("in state %d of another history: each has changes that the other has not", seen)
}

// Behind says why the vault is open for reading only, because this computer saw a
// newer copy or one with another history; nil when it is the newest. What is read
// from it may be out of date.
func (v *Vault) Behind() error {
	if v == nil { // nobody opened one
		return nil
	}
	return v.behind
}

// errBehind tells of what this computer saw last, and where.
func (v *Vault) errBehind(last anchor, state string) error {
	where, newer := "", "the newer copy"
	if last.proven && last.Dir != "" && last.Dir != v.dir {
		where, newer = " in "+last.Dir, "that copy"
	}
	const told = "this vault is not the newest: on this computer it was seen%s %s; nothing changed, and it is open for reading only"
	return pam.Errorf(pam.ErrConflict, told, where, state).
		WithHint("use %s; to go on with this one in its place: --accept-rollback; to try this one and leave that: --anchor FILE", newer)
}

// descends reports whether the anchored state is one that this vault was in.
func (t *txn) descends(ctx context.Context, last anchor) (bool, error) {
	if last.Generation > t.meta.Generation || last.AuditCount > t.meta.AuditCount {
		return false, nil
	}
	if last.AuditCount == 0 {
		return true, nil
	}
	row, found, err := load[auditRow](ctx, t, key{group: groupAudit, id: number(last.AuditCount)})
	return found && bytes.Equal(row.Chain, last.AuditHead), err
}

// AcceptRollback goes on with a copy that is not the newest. Its passwords may
// not be those in force: each is marked unverified. It does nothing for a vault
// that is the newest.
func (v *Vault) AcceptRollback(ctx context.Context) error {
	if v.behind == nil {
		return nil
	}
	was := v.behind
	v.behind = nil
	err := v.update(ctx, "accept the older vault", func(t *txn) error {
		rows, err := t.rows(ctx, groupCredential, every)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if err := t.unverify(ctx, r); err != nil {
				return err
			}
		}
		return t.audit(ctx, "vault.accept_rollback", v.id, "")
	})
	if err != nil {
		v.behind = was
	}
	return err
}

func (t *txn) unverify(ctx context.Context, r row) error {
	var g pam.Generation
	secrets, err := t.open(r, &g)
	if err != nil {
		return err
	}
	defer destroy(secrets)
	if g.Status != pam.Current {
		return nil
	}
	g.Unverified = true
	return t.put(ctx, r.key, g, secrets...)
}
