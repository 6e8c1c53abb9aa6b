package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

const doingRekey = "replace the vault's key"

// A Rekeying is a new key for a vault in the making. Nothing changes before Run.
// It belongs to one goroutine; Close ends it.
type Rekeying struct {
	v    *Vault
	from []byte // the header file as it was at first
	// slots are those of that header, as people see them.
	slots []KeySlot
	wrap  *seal.Rewrapping
	key   secret.Value // the next one
	// Doubt says after a Run that failed that the vault may turn out to have the new
	// key all the same, when it is opened next: what would open it then has to stay.
	Doubt bool
}

// BeginRekey draws a new vault key. What opens each key slot has to be offered to
// it, but for slots that wrap to a public key, see OfferAge. ErrConflict while a job has not
// ended: its process holds the old key, and would be locked out half-way.
func (v *Vault) BeginRekey(ctx context.Context) (*Rekeying, error) {
	if v.behind != nil {
		return nil, v.behind
	}
	jobs, err := v.Jobs(ctx)
	if err != nil {
		return nil, err
	}
	if err := allEnded(jobs); err != nil {
		return nil, err
	}
	h, err := v.header(doingRekey)
	if err != nil {
		return nil, err
	}
	old := v.Key()
	defer old.Destroy()
	r := &Rekeying{v: v}
	if r.from, err = h.Encode(old); err != nil {
		return nil, sealError(doingRekey, err)
	}
	if r.slots, err = v.keySlots(h); err != nil {
		return nil, sealError(doingRekey, err)
	}
	if r.key, err = seal.NewKey(v.random); err != nil {
		return nil, pam.Errorf(pam.ErrIO, doingRekey+": %w", err)
	}
	r.wrap = h.Rewrap(v.random, r.key)
	return r, nil
}

// allEnded refuses to go on while a job has not ended.
func allEnded(jobs []pam.Job) error {
	for _, j := range jobs {
		switch {
		case j.State.Terminal():
		case j.State == pam.JobOpen:
			return pam.Errorf(pam.ErrConflict, "job %s of %s is open; nothing changed", j.ID, j.AccountName).
				WithHint("keyturn pam action resume %s, then once more", j.ID)
		default:
			return pam.Errorf(pam.ErrConflict, "job %s of %s is %s, and works with the present key; nothing changed",
				j.ID, j.AccountName, j.State).
				WithHint("wait for its end (keyturn pam action job-info %s), then once more", j.ID)
		}
	}
	return nil
}

// Offer keeps the key slots that a secret which people have opens: a passphrase, a
// recovery code as it is typed, the content of a key file. It returns none when
// the secret opens none that is not kept yet. The IDs are those that the slots
// have now (Old), and will have.
func (r *Rekeying) Offer(with secret.Value) ([]seal.Rewrapped, error) {
	kept, err := r.wrap.Offer(with)
	if code, ok := seal.ParseRecoveryCode(with); ok && err == nil {
		defer code.Destroy()
		var more []seal.Rewrapped
		more, err = r.wrap.Offer(code)
		kept = append(kept, more...)
	}
	return kept, sealError(doingRekey, err)
}

// OfferAge keeps age slots, for which nothing has to be given: encrypt returns an
// age file for the slot's recipient that holds another secret, or none where it
// cannot be made, so that the slot is lost.
func (r *Rekeying) OfferAge(encrypt func(slot KeySlot, with secret.Value) ([]byte, error)) ([]seal.Rewrapped, error) {
	var kept []seal.Rewrapped
	for _, s := range r.Lost() {
		if s.Kind != seal.KindAge {
			continue
		}
		k, err := r.wrapAge(s, encrypt)
		if err != nil {
			return kept, err
		}
		if k.New != "" {
			kept = append(kept, k)
		}
	}
	return kept, nil
}

func (r *Rekeying) wrapAge(s KeySlot, encrypt func(KeySlot, secret.Value) ([]byte, error)) (seal.Rewrapped, error) {
	with, err := NewSlotSecret(r.v.random)
	if err != nil {
		return seal.Rewrapped{}, err
	}
	defer with.Destroy()
	sealed, err := encrypt(s, with)
	if err != nil || sealed == nil {
		return seal.Rewrapped{}, err
	}
	k, err := r.wrap.WrapAge(s.ID, s.Recipient, with, sealed)
	return k, sealError(doingRekey, err)
}

// OfferKeyring keeps keyring slots: get is that of [WithKeyring]. The secret of
// each stays; before Run it has to be kept under the name of the new entry too.
func (r *Rekeying) OfferKeyring(get func(entry string) (secret.Value, error)) ([]seal.Rewrapped, error) {
	kept, err := r.wrap.OfferKeyring(func(s seal.Slot) (secret.Value, error) { return get(r.Entry(s.ID())) })
	return kept, slotError(doingRekey, err)
}

// Entry is the [KeyringEntry] of a slot, of either header.
func (r *Rekeying) Entry(slot string) string { return KeyringEntry(r.v.id, slot) }

// Kept returns the key slots that stay, whether they needed a secret or not.
func (r *Rekeying) Kept() []seal.Rewrapped { return r.wrap.Kept() }

// Lost returns the key slots that Run closes, because nothing was offered that
// opens them.
func (r *Rekeying) Lost() []KeySlot {
	kept := map[string]bool{}
	for _, k := range r.Kept() {
		kept[k.Old] = true
	}
	return slices.DeleteFunc(slices.Clone(r.slots), func(s KeySlot) bool { return kept[s.ID] })
}

// Close forgets the new key.
func (r *Rekeying) Close() { r.key.Destroy() }

// Run seals everything anew and closes the vault: it opens with the new key, of
// which Run returns a copy, and with no other. At every instant the vault opens
// either with the slots that it had or with those that were kept; nothing is in
// between. Processes that have the old key can neither read nor write from then on.
//
// A returned key means that the vault has it. With an error beside it something
// is left to be done, which the next process that opens the vault does.
func (r *Rekeying) Run(ctx context.Context) (key secret.Value, err error) {
	v := r.v
	l, err := v.lockHeader(ctx, doingRekey)
	if err != nil {
		return key, err
	}
	defer l.Release() //nolint:errcheck // the descriptor is closed in any case
	if err := v.settle(ctx); err != nil {
		return key, err
	}
	header, err := r.header()
	if err != nil {
		return key, err
	}
	next, err := v.successor(header, r.key)
	if err != nil {
		return key, err
	}
	defer next.forget()
	if err := v.announce(header, r.key); err != nil {
		return key, errors.Join(err, v.settle(context.WithoutCancel(ctx)))
	}
	if tried, err := v.reseal(ctx, next, r.summary(header)); err != nil {
		return r.unsure(ctx, next, tried, err)
	}
	return r.key.Clone(), errors.Join(next.finish(context.WithoutCancel(ctx)), v.Close())
}

// header returns the next header. ErrConflict when the slots are not those that
// the caller knows.
func (r *Rekeying) header() (seal.Header, error) {
	now, err := r.v.header(doingRekey)
	if err != nil {
		return now, err
	}
	old := r.v.Key()
	defer old.Destroy()
	file, err := now.Encode(old)
	if err != nil {
		return now, sealError(doingRekey, err)
	}
	if string(file) != string(r.from) {
		return now, pam.Errorf(pam.ErrConflict, "the key slots were changed meanwhile; nothing changed").WithHint("once more")
	}
	h, err := r.wrap.Header()
	if errors.Is(err, seal.ErrKey) {
		return h, pam.Errorf(pam.ErrLocked, "nothing that was given opens a key slot of this vault; nothing changed")
	}
	return h, sealError(doingRekey, err)
}

// summary is what the audit says of it.
func (r *Rekeying) summary(h seal.Header) string {
	text := "kept " + strings.Join(h.Kinds(), ", ")
	closed := []string{}
	for _, s := range r.wrap.Lost() {
		closed = append(closed, s.Kind+" "+s.ID())
	}
	if len(closed) > 0 {
		text += "; closed " + strings.Join(closed, ", ")
	}
	return text
}

// successor is the vault under its next key, over the same database.
func (v *Vault) successor(h seal.Header, key secret.Value) (*Vault, error) {
	box, err := seal.NewBox(key, h.Vault)
	if err != nil {
		return nil, sealError(doingRekey, err)
	}
	next := &Vault{
		dir: v.dir, id: v.id, epoch: h.Epoch, slots: h.Kinds(), box: box, writer: v.writer, reader: v.reader,
		now: v.now, random: v.random, actor: v.actor,
	}
	if v.anchorage.path != "" {
		next.anchorage = anchorage{path: v.anchorage.path, named: v.anchorage.named}
		if next.anchorage.key, err = seal.Subkey(key, h.Vault, useAnchor); err != nil {
			box.Destroy()
			return nil, sealError(doingRekey, err)
		}
	}
	return next, nil
}

// forget destroys the keys. The database stays open.
func (v *Vault) forget() {
	v.box.Destroy()
	v.anchorage.key.Destroy()
}

// announce writes the next header beside the present one, durably.
func (v *Vault) announce(h seal.Header, key secret.Value) error {
	header, err := h.Encode(key)
	if err != nil {
		return sealError(doingRekey, err)
	}
	err = writeFile(filepath.Join(v.dir, nextHeader), header)
	if err == nil {
		err = syncDir(v.dir)
	}
	if err != nil {
		return pam.Errorf(pam.ErrIO, doingRekey+": %w; the vault opens as before", err)
	}
	return nil
}

// unsure ends a rekey whose transaction failed. Whether a commit that failed counts
// all the same is read from the database.
func (r *Rekeying) unsure(ctx context.Context, next *Vault, tried bool, why error) (secret.Value, error) {
	ctx = context.WithoutCancel(ctx)
	if next.view(ctx, func(*txn) error { return nil }) == nil {
		why = pam.Errorf(pam.KindOf(why), "the vault has its new key; whether it keeps it after a power cut is not known: %w", why)
		return r.key.Clone(), errors.Join(why, next.finish(ctx), r.v.Close())
	}
	err := r.v.settle(ctx)
	if r.Doubt = tried && err != nil; r.Doubt {
		why = pam.Errorf(pam.KindOf(why), "%w; whether the vault has its new key is known when it is opened next", why).
			WithHint("make room, or mend the disk, then: keyturn vault check")
	}
	return secret.Value{}, errors.Join(why, err)
}

// finish gives the new header its name and takes the old key's pages out of the
// files. The vault has its new key already, whatever becomes of that.
func (v *Vault) finish(ctx context.Context) error {
	err := v.settle(ctx)
	if err == nil {
		err = v.scrub(ctx)
	}
	if err != nil {
		return pam.Errorf(pam.KindOf(err), "the vault has its new key, but not all that the old one sealed is out of its files: %w", err).
			WithHint("any later command that opens the vault tries again, for example: keyturn vault check")
	}
	return nil
}

// endRekey ends what a rekey that was cut off left to be done, unless another
// process does it. Reading goes on all the same when it fails.
func (v *Vault) endRekey(ctx context.Context) {
	if _, err := os.Lstat(filepath.Join(v.dir, nextHeader)); (err != nil && !v.unclean.Load()) || v.behind != nil {
		return
	}
	if l, err := v.tryNamed(ctx, headerLock); l != nil && err == nil {
		defer l.Release() //nolint:errcheck // the descriptor is closed in any case
		if v.settle(ctx) == nil && v.unclean.Load() {
			_ = v.scrub(ctx)
		}
	}
}

// scrub takes out of the files what a former key sealed: pages that are free, and
// the write-ahead log.
func (v *Vault) scrub(ctx context.Context) error {
	if err := v.checkpoint(ctx, doingRekey); err != nil {
		return err
	}
	if _, err := v.writer.ExecContext(ctx, "VACUUM"); err != nil {
		return dbError(ctx, doingRekey, err)
	}
	if err := v.checkpoint(ctx, doingRekey); err != nil {
		return err
	}
	err := v.update(ctx, doingRekey, func(t *txn) error {
		t.meta.Scrub, t.changed = false, true
		return nil
	})
	v.unclean.Store(err != nil)
	return err
}

// reseal seals everything with the next key, in one transaction. After a failure it
// says whether the commit was tried.
func (v *Vault) reseal(ctx context.Context, next *Vault, summary string) (tried bool, err error) {
	err = v.transact(ctx, v.writer, v.seen.Load(), doingRekey, func(t *txn) error {
		n, err := t.succeed(ctx, next)
		if err != nil {
			return err
		}
		defer n.meta.destroy()
		if err := t.resealRows(ctx, n); err != nil {
			return err
		}
		if _, err := t.db.ExecContext(ctx, `DELETE FROM manifest`); err != nil {
			return err
		}
		n.meta.Scrub = true
		if err := n.audit(ctx, "vault.rekey", v.id, "%s", summary); err != nil {
			return err
		}
		if err := n.flush(ctx); err != nil {
			return err
		}
		tried = true
		if err := t.db.Commit(); err != nil {
			return err
		}
		next.see(n.meta.Generation)
		next.drop(n.meta)
		return nil
	})
	return tried, err
}

// succeed looks whether the vault may get another key now, and returns the same
// transaction under that key, with an empty manifest.
func (t *txn) succeed(ctx context.Context, next *Vault) (*txn, error) {
	jobs, err := all[jobRow](ctx, t, groupJob, every)
	if err != nil {
		return nil, err
	}
	for _, j := range jobs {
		if err := allEnded([]pam.Job{j.Job}); err != nil {
			return nil, err
		}
	}
	if err := t.verifyAudit(ctx); err != nil {
		return nil, err
	}
	if _, err := t.db.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", schemaVersion)); err != nil {
		return nil, err
	}
	n := &txn{v: next, db: t.db, pages: map[int]*page{}, index: emptyIndex(), meta: t.meta}
	n.meta.auditRoot, n.meta.auditKey = t.meta.auditRoot.Clone(), t.meta.auditKey.Clone()
	for i := range manifestPages {
		n.pages[i] = &page{rows: map[string]int64{}}
	}
	return n, nil
}
