package vault

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

// An AuditEntry is one line of the audit trail. It is saved in the transaction
// of the change that it is about.
type AuditEntry struct {
	Number int64     `json:"number"` // from 1, without gaps
	At     time.Time `json:"at"`
	Actor  string    `json:"actor"`
	Action string    `json:"action"` // "record.add", "job.stage", ...
	Object pam.UID   `json:"object"`
	Detail string    `json:"detail,omitempty"` // never a secret
}

// An auditRow is an entry with its place in the chain.
type auditRow struct {
	Entry json.RawMessage `json:"entry"` // as it was authenticated
	Chain []byte          `json:"chain"` // HMAC(k_i, chain before | entry)
}

const useRatchet = "keyturn vault 1: audit ratchet"

// audit appends an entry. The key of an entry is replaced by its successor at
// once, so that who finds the later key cannot forge the earlier entry.
func (t *txn) audit(ctx context.Context, action string, object pam.UID, format string, args ...any) error {
	return t.chain(ctx, AuditEntry{
		At: t.v.now().UTC(), Actor: t.v.actor, Action: action, Object: object, Detail: fmt.Sprintf(format, args...),
	})
}

// chain appends an entry under the next number.
func (t *txn) chain(ctx context.Context, e AuditEntry) error {
	e.Number = t.meta.AuditCount + 1
	text, err := json.Marshal(e)
	if err != nil {
		return pam.Errorf(pam.ErrInternal, "audit: %w", err)
	}
	chain := auditChain(t.meta.auditKey, t.meta.AuditHead, text)
	next := ratchet(t.meta.auditKey)
	t.meta.auditKey.Destroy()
	t.meta.auditKey, t.meta.AuditCount, t.meta.AuditHead, t.changed = next, e.Number, chain, true
	return t.put(ctx, key{group: groupAudit, id: number(e.Number)}, auditRow{text, chain})
}

func auditChain(k secret.Value, before, entry []byte) []byte {
	mac := hmac.New(sha256.New, k.Reveal())
	mac.Write(seal.AD(string(before), string(entry)))
	return mac.Sum(nil)
}

func ratchet(k secret.Value) secret.Value { return seal.Derive(k, nil, useRatchet) }

// Audit returns the audit trail, oldest first. It is checked by VerifyAudit,
// not here.
func (v *Vault) Audit(ctx context.Context) ([]AuditEntry, error) {
	var entries []AuditEntry
	err := v.view(ctx, func(t *txn) error {
		rows, err := all[auditRow](ctx, t, groupAudit, every)
		if err != nil {
			return err
		}
		entries = make([]AuditEntry, len(rows))
		for i, r := range rows {
			if err := json.Unmarshal(r.Entry, &entries[i]); err != nil {
				return pam.Errorf(pam.ErrIO, "read audit entry %d: %w", i+1, err)
			}
		}
		return nil
	})
	return entries, err
}

// VerifyAudit follows the chain of the audit trail from its first entry.
// ErrDenied when an entry was changed, removed, moved or added, or the end is cut off.
func (v *Vault) VerifyAudit(ctx context.Context) error {
	return v.view(ctx, func(t *txn) error { return t.verifyAudit(ctx) })
}

func (t *txn) verifyAudit(ctx context.Context) error {
	rows, err := all[auditRow](ctx, t, groupAudit, every)
	if err != nil {
		return err
	}
	if int64(len(rows)) != t.meta.AuditCount {
		return tampered("the audit trail has %d entries instead of %d", len(rows), t.meta.AuditCount)
	}
	k, head := t.meta.auditRoot.Clone(), []byte(nil)
	defer func() { k.Destroy() }()
	for i, r := range rows {
		var e AuditEntry
		if err := json.Unmarshal(r.Entry, &e); err != nil || e.Number != int64(i+1) {
			return tampered("audit entry %d is not in its place", i+1)
		}
		if head = auditChain(k, head, r.Entry); !hmac.Equal(head, r.Chain) {
			return tampered("audit entry %d is not as it was written", i+1)
		}
		next := ratchet(k)
		k.Destroy()
		k = next
	}
	if !bytes.Equal(head, t.meta.AuditHead) || !k.Equal(t.meta.auditKey) {
		return tampered("the audit trail does not end where it should")
	}
	return nil
}

// AuditReveal records the intent to show a secret, before it is shown.
func (v *Vault) AuditReveal(ctx context.Context, record pam.UID, field string) error {
	return v.update(ctx, "record the reveal of "+string(record), func(t *txn) error {
		return t.audit(ctx, "record.reveal", record, "%s", field)
	})
}
