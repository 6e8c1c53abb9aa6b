package seal

import (
	"errors"
	"fmt"
	"io"

	"keyturn/pkg/secret"
)

// ErrNeedsSecret says that a slot can wrap another key only with what opens it.
var ErrNeedsSecret = errors.New("only what opens the slot can wrap another key for it")

// rewrap makes the slot that wraps another key for the same way in. with is what
// opens the slot. ErrNeedsSecret without it, for a kind that this program does
// not know, and for one that wraps to a public key: see [Rewrapping.WrapAge].
// ErrTampered and ErrParams are for another secret than the slot's. A kind is
// named here before it comes along: one that has more in its slot than a wrapped
// key must not lose that on the way.
func (s Slot) rewrap(random io.Reader, vaultID string, next, with secret.Value) (Slot, error) {
	switch s.Kind {
	case KindPassphrase, KindKeyFile, KindRecovery, KindKeyring:
		if with.IsZero() {
			return Slot{}, ErrNeedsSecret
		}
	default:
		return Slot{}, ErrNeedsSecret
	}
	old, err := s.open(vaultID, with)
	old.Destroy()
	switch {
	case err != nil:
		return Slot{}, err
	case isSecretKind(s.Kind):
		return newSecretSlot(random, s.Kind, vaultID, next, with)
	}
	return newPassphraseSlot(random, vaultID, next, with, s.params())
}

// A Rewrapping makes the header of a vault's next key out of that of its present
// one, a slot at a time. It belongs to one goroutine.
type Rewrapping struct {
	from   Header
	random io.Reader
	next   secret.Value
	made   []Slot // by place in from.Slots; without a kind while it is not made
}

// A Rewrapped is a slot that came along, by its ID before and after.
type Rewrapped struct{ Kind, Old, New string }

// Rewrap begins the header of the next key, which stays the caller's and must
// outlive the rewrapping. No slot is along yet.
func (h Header) Rewrap(random io.Reader, next secret.Value) *Rewrapping {
	return &Rewrapping{from: h, random: random, next: next, made: make([]Slot, len(h.Slots))}
}

// Offer brings along the slots that a secret which people have opens and that are
// not along yet, whatever their kind. It returns none for a secret that opens none.
func (r *Rewrapping) Offer(with secret.Value) ([]Rewrapped, error) {
	var along []Rewrapped
	tried := 0
	for i, s := range r.from.Slots {
		if r.made[i].Kind != "" || s.Kind == KindKeyring {
			continue
		}
		if s.Kind == KindPassphrase {
			if tried++; tried > maxPhrases {
				return along, fmt.Errorf("%w: more than %d passphrase slots", ErrFormat, maxPhrases)
			}
		}
		ok, err := r.wrap(i, with)
		if err != nil {
			return along, err
		}
		if ok {
			along = append(along, r.along(i))
		}
	}
	return along, nil
}

// wrap brings a slot along if the secret opens it.
func (r *Rewrapping) wrap(i int, with secret.Value) (bool, error) {
	made, err := r.from.Slots[i].rewrap(r.random, r.from.Vault, r.next, with)
	switch {
	case errors.Is(err, ErrNeedsSecret), errors.Is(err, ErrTampered), errors.Is(err, ErrParams):
		return false, nil
	case err != nil:
		return false, err
	}
	r.made[i] = made
	return true, nil
}

func (r *Rewrapping) along(i int) Rewrapped {
	s := r.from.Slots[i]
	return Rewrapped{Kind: s.Kind, Old: s.ID(), New: r.made[i].ID()}
}

// OfferKeyring brings along the keyring slots whose own secrets with returns, and
// which are destroyed here; it returns an empty one for a slot that it has none
// for. The next slot has the same secret. A failure of with ends the attempt.
func (r *Rewrapping) OfferKeyring(with func(Slot) (secret.Value, error)) ([]Rewrapped, error) {
	var along []Rewrapped
	for i, s := range r.from.Slots {
		if r.made[i].Kind != "" || s.Kind != KindKeyring {
			continue
		}
		own, err := with(s)
		if err != nil {
			return along, err
		}
		ok, err := r.wrap(i, own)
		own.Destroy()
		if err != nil {
			return along, err
		}
		if ok {
			along = append(along, r.along(i))
		}
	}
	return along, nil
}

// WrapAge brings along the age slot of an ID without anything that opens it. with
// is another secret for it, which sealed holds for the same recipient as before.
// ErrParams when there is no such slot, or it does not fit.
func (r *Rewrapping) WrapAge(id, recipient string, with secret.Value, sealed []byte) (Rewrapped, error) {
	for i, s := range r.from.Slots {
		if s.Kind != KindAge || s.ID() != id {
			continue
		}
		alone := Header{Vault: r.from.Vault}
		if _, err := alone.AddAge(r.random, r.next, recipient, with, sealed); err != nil {
			return Rewrapped{}, err
		}
		r.made[i] = alone.Slots[0]
		return r.along(i), nil
	}
	return Rewrapped{}, fmt.Errorf("%w: there is no age slot %s", ErrParams, id)
}

// Kept returns the slots that are along, in their order.
func (r *Rewrapping) Kept() []Rewrapped {
	var kept []Rewrapped
	for i := range r.from.Slots {
		if r.made[i].Kind != "" {
			kept = append(kept, r.along(i))
		}
	}
	return kept
}

// Lost returns the slots that are not along.
func (r *Rewrapping) Lost() []Slot {
	var lost []Slot
	for i, s := range r.from.Slots {
		if r.made[i].Kind == "" {
			lost = append(lost, s)
		}
	}
	return lost
}

// Header returns the header of the next key, with the slots that are along, in
// their order; ErrKey when there are none.
func (r *Rewrapping) Header() (Header, error) {
	h := Header{Vault: r.from.Vault, Epoch: r.from.Epoch + 1}
	for _, s := range r.made {
		if s.Kind != "" {
			h.Slots = append(h.Slots, s)
		}
	}
	if len(h.Slots) == 0 {
		return Header{}, ErrKey
	}
	return h, nil
}
