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
	proven     bool    // this vault's key made it
}

const (
	useAnchor = "keyturn vault 1: anchor"
	maxAnchor = 4096
)

// An anchorage is where a vault's anchor is kept. The zero value keeps none.
type anchorage struct {
	path string
	key  secret.Value
}

func (o Options) anchorage(key secret.Value, id string) (anchorage, error) {
	if o.AnchorDir == "" {
		return anchorage{}, nil
	}
	sub, err := seal.Subkey(key, id, useAnchor)
	return anchorage{filepath.Join(o.AnchorDir, id+".anchor"), sub}, err
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
		return anchor{}
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, maxAnchor))
	if err != nil || len(b) < sha256.Size {
		return anchor{}
	}
	text, mac := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	var last anchor
	if json.Unmarshal(text, &last) != nil {
		return anchor{}
	}
	last.proven = hmac.Equal(mac, a.mac(text))
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
	if v.anchorage.path == "" {
		return
	}
	now := anchor{Vault: v.id, Epoch: v.epoch, Generation: m.Generation, AuditCount: m.AuditCount, AuditHead: m.AuditHead}
	_ = v.anchorage.write(now) // it lags behind then
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
		v.firstSeen = true
		v.drop(t.meta)
		return nil
	}
	descends, err := t.descends(ctx, last)
	switch {
	case err != nil:
		return err
	case last.Epoch > v.epoch:
		v.behind = errBehind("seen with another key, that it got later")
	case !descends:
		v.behind = errBehind("%s", otherState(last.Generation, t.meta.Generation))
	case !last.proven:
		v.firstSeen = true
		v.drop(t.meta)
	}
	return nil
}

// otherState says how a copy differs from what was seen.
func otherState(seen, now int64) string {
	if now < seen {
		return fmt.Sprintf("seen in state %d, and this copy is in state %d, older or with another history", seen, now)
	}
	return fmt.Sprintf("seen in state %d of another history: each has changes that the other has not", seen)
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

func errBehind(seen string, args ...any) error {
	return pam.Errorf(pam.ErrConflict, "this vault is not the newest: on this computer it was "+seen+
		"; nothing changed, and it is open for reading only", args...).
		WithHint("use the newer copy; to go on with this one: --accept-rollback")
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
