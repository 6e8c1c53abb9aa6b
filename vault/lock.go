package vault

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"keyturn/pkg/pam"
)

// A Lock is the lock of one account, held by this process until Release or death.
type Lock struct {
	mu   sync.Mutex
	file *os.File
}

// An owner is what a lock file says of who holds it: for people, never trusted.
type owner struct {
	PID int     `json:"pid"`
	Job pam.UID `json:"job,omitempty"`
}

const maxOwner = 512 // bytes of a lock file that are read

// LockAccount takes the account's lock without waiting: a kernel file lock, so
// that it ends with the process. ErrConflict names the owner as far as known.
func (v *Vault) LockAccount(ctx context.Context, account pam.UID) (*Lock, error) {
	var name string
	var holder *pam.Job
	err := v.view(ctx, func(t *txn) error {
		a, err := t.account(ctx, account)
		if err != nil {
			return err
		}
		name = a.Name
		holder, err = t.holder(ctx, account)
		return err
	})
	if err != nil {
		return nil, err
	}
	l, err := v.tryAccount(ctx, account)
	if err != nil {
		return nil, pam.Errorf(pam.ErrIO, "lock account %s: %w", name, err)
	}
	if l == nil {
		return nil, v.lockedError(account, name)
	}
	me := owner{PID: os.Getpid()}
	if holder != nil {
		me.Job = holder.ID
	}
	l.sign(me)
	return l, nil
}

func (v *Vault) lockPath(account pam.UID) string {
	return filepath.Join(v.dir, locksDir, string(account))
}

// tryAccount returns nil when somebody else holds the account's lock.
func (v *Vault) tryAccount(ctx context.Context, account pam.UID) (*Lock, error) {
	return v.tryNamed(ctx, string(account))
}

// tryNamed returns nil when somebody else holds that lock. A look at a lock by
// held takes it for a moment, hence the second and third try.
func (v *Vault) tryNamed(ctx context.Context, name string) (*Lock, error) {
	path := filepath.Join(v.dir, locksDir, name)
	for try := 0; ; try++ {
		l, err := lockFile(path)
		if errors.Is(err, fs.ErrNotExist) { // a vault that was put back without its locks
			if err := makeDir(filepath.Dir(path)); err != nil {
				return nil, err
			}
			l, err = lockFile(path)
		}
		if l != nil || err != nil || try == 2 {
			return l, err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// patience is how long a writer waits for its turn; then for the database, see [dsn].
const patience = 10 * time.Second

// waitTurn waits until this writer is next, and holds the turn for it. SQLite's own
// waiting is not fair: who writes without a pause has the database in almost every
// instant in which another one looks, and starves it. Who writes on has to wait here
// as long as somebody else is next. Nothing else depends on the turn: it is nil, and
// the writer tries its luck, when the lock cannot be had. Whom somebody kept waiting
// in vain once waits no more until it is free: a rotation has many writes.
func (v *Vault) waitTurn(ctx context.Context) *Lock {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		l, err := v.tryNamed(ctx, turnLock)
		if l == nil && err == nil && !v.impatient.Load() {
			continue
		}
		v.impatient.Store(l == nil && (err == nil || ctx.Err() != nil))
		return l
	}
}

// LockAgent waits until no other process is starting the agent of the vault: each of
// several would end the one of another. Nil when the lock cannot be had.
func (v *Vault) LockAgent(ctx context.Context) *Lock {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if l, err := v.tryNamed(ctx, agentLock); l != nil || err != nil {
			return l
		}
	}
}

// lockFile locks a file; nil when somebody else has it.
func lockFile(path string) (*Lock, error) {
	f, err := openLockFile(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = checkInfo(path, info)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	ok, err := tryLock(f)
	if !ok {
		return nil, errors.Join(err, f.Close())
	}
	return &Lock{file: f}, nil
}

// sign notes the owner in the file. Nothing depends on it, so a failure is none.
func (l *Lock) sign(o owner) {
	b, err := json.Marshal(o)
	if err != nil || l.file.Truncate(0) != nil {
		return
	}
	_, _ = l.file.WriteAt(b, 0)
}

// Release gives the lock back; that of a nil Lock is nothing.
func (l *Lock) Release() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	if err != nil {
		return pam.Errorf(pam.ErrIO, "release the account lock: %w", err)
	}
	return nil
}

func (v *Vault) lockedError(account pam.UID, name string) error {
	o := readOwner(v.lockPath(account))
	e := pam.Errorf(pam.ErrConflict, "account %s is being rotated by another process; nothing changed", name)
	if o.PID != 0 && o.Job != "" {
		e = pam.Errorf(pam.ErrConflict, "account %s is being rotated by job %s (process %d); nothing changed", name, o.Job, o.PID).
			WithHint("keyturn pam action job-info %s", o.Job)
	} else if o.PID != 0 {
		e = pam.Errorf(pam.ErrConflict, "account %s is held by process %d; nothing changed", name, o.PID)
	}
	return e
}

func readOwner(path string) owner {
	var o owner
	f, err := openNoFollow(path)
	if err != nil {
		return o
	}
	defer f.Close() //nolint:errcheck // it was only read
	b, err := io.ReadAll(io.LimitReader(f, maxOwner))
	if err != nil || json.Unmarshal(b, &o) != nil || (o.Job != "" && !pam.IsUID(string(o.Job))) {
		return owner{}
	}
	return o
}

// held reports whether some process holds the account's lock.
func (v *Vault) held(account pam.UID) (bool, error) {
	path := v.lockPath(account)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	l, err := lockFile(path)
	if err != nil {
		return false, pam.Errorf(pam.ErrIO, "look at the lock of account %s: %w", account, err)
	}
	if l == nil {
		return true, nil
	}
	return false, l.Release()
}
