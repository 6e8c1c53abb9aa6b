// Package commands is the command line: one fresh tree of commands for every
// line, one file for each leaf. A leaf reads its flags, makes one call and
// returns one view.
//
// It knows no transport, nothing of how the vault keeps what it keeps, and no
// rule of the product: what it needs of the world arrives in [Deps].
package commands

import (
	"cmp"
	"context"
	"io"
	"os"
	"path/filepath"
	"time"

	"keyturn/pkg/discover"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault"
)

// Deps is everything a command may use of the world. Funcs are called when a
// command needs them and not before.
type Deps struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
	// OutIsTerminal and InIsTerminal say whether a person is there. ErrIsTerminal
	// says whether Err can rub out what it wrote; nil is no.
	OutIsTerminal func() bool
	InIsTerminal  func() bool
	ErrIsTerminal func() bool
	// Columns says how wide the terminal is that a stream goes to; zero where it goes
	// to none, or nobody knows. Nil is no.
	Columns func(io.Writer) int

	Now     func() time.Time
	Random  io.Reader
	Getenv  func(string) string
	WorkDir func() (string, error)
	DataDir func() (string, error) // where a user's programs keep their data on this platform
	Version string

	// Vault opens the vault once and unlocks it; later calls return the same.
	Vault func(ctx context.Context) (*vault.Vault, error)
	// CreateVault makes a new vault, which Vault returns from then on.
	CreateVault func(ctx context.Context, passphrase secret.Value, kdfMemory uint32) (*vault.Vault, error)
	// ReadSecret and ReadLine ask on the terminal, never on Out. Without a
	// terminal they fail with ErrNoTerminal.
	ReadSecret func(ctx context.Context, prompt string) (secret.Value, error)
	ReadLine   func(ctx context.Context, prompt string) (string, error)

	// StartJob starts the process that runs a saved job, new or open, and
	// returns at once. Its wait blocks until the job has ended or that process
	// has, whichever is first, and reports what changed on the way.
	StartJob StartJob
	// DryRun looks and plans in this process and changes nothing.
	DryRun func(ctx context.Context, user pam.UID, o pam.JobOptions) (pam.Plan, error)
	// Discover looks at who runs what on machines, in this process, and saves what
	// it finds; on hears of each machine. Examine tests whether machines can be
	// worked with. Both change nothing on any machine.
	Discover func(ctx context.Context, d pam.Discovery, machines []pam.UID, on func(pam.Finding)) (pam.Discovery, error)
	Examine  func(ctx context.Context, machines []pam.UID, on func(discover.Health)) ([]discover.Health, error)
	// RunJob is the process that StartJob starts: it takes the vault key from the
	// pipe it inherited, holds the account's lock and runs the engine.
	RunJob func(ctx context.Context, job pam.UID) error
	// Reopen opens the vault with the key that it got in the place of the open one;
	// slot is the ID of the key slot that would open it.
	Reopen func(ctx context.Context, key secret.Value, slot string) error
	// Salvage makes a vault in the folder out of what is left of the damaged one in
	// dir, which it unlocks without opening it.
	Salvage func(ctx context.Context, dir, out string) (vault.Salvage, error)
	// Lock forgets the vault's key: the next call of Vault asks for it again.
	Lock func()
	// StartAgent starts the process that keeps the open vault's key, and says when
	// it ends if nobody asks it. StopAgent reports whether one ran.
	StartAgent func(ctx context.Context, idle time.Duration) (until time.Time, err error)
	StopAgent  func(ctx context.Context) (ran bool, err error)
	// RunAgent is the process that StartAgent starts.
	RunAgent func(ctx context.Context, o AgentOptions) error
	// Interrupts tells of each interrupt of this process until stop is called, and
	// keeps the second from ending it; nil where interrupts are somebody else's.
	Interrupts func() (heard <-chan os.Signal, stop func())
	// Thrift makes the program leave little memory to garbage until end is called; nil
	// where nobody minds.
	Thrift func() (end func())
	// Shell runs the interactive shell, which locks the vault when nobody typed
	// anything for idle (zero: never); nil where there is none.
	Shell func(ctx context.Context, idle time.Duration) error

	// Keyring is the one that the operating system keeps for its user; nil where
	// there is none.
	Keyring Keyring
	// Clipboard copies a value to the clipboard of this computer; nil where there is none.
	Clipboard func(ctx context.Context, value secret.Value) error
	// History returns the lines typed in the shell; nil outside of it.
	History func() []string

	Session *Session
	// Interactive is set by the shell: commands come from its prompt.
	Interactive bool
}

// A StartJob starts a saved job; see [Deps.StartJob].
type StartJob func(ctx context.Context, job pam.Job) (wait WaitJob, err error)

// A WaitJob waits for a started job; see [Deps.StartJob].
type WaitJob func(ctx context.Context, on func(pam.Job)) (pam.Job, error)

// A Session is what one command leaves for the next in the same process.
type Session struct {
	Folder  pam.UID // the current folder; "" is the root
	Globals Globals
	// Locked is set by "logout", so that completion does not unlock again.
	Locked bool
	// Slot is the ID of the key slot that opened the vault; "" when it is not known.
	Slot string
	// Quiet forbids questions: completion asks nobody.
	Quiet bool
	told  []pam.UID // the jobs that were told of
	news  []string  // what people should know of how the vault was opened
	batch bool      // commands come from a file or standard input
	// behind is what was said of a vault that is not the newest; "" for nothing.
	behind string

	variables map[string]secret.Value // by name, set by "set"
}

// Globals are the values of the persistent flags.
type Globals struct {
	VaultDir     string
	PasswordFile string
	KeyFile      string
	Identity     string // a file of age identities
	// AcceptRollback goes on with a vault that is older than the one seen last.
	AcceptRollback bool
	Anchor         string // a file that says which state of the vault was seen last
	Debug          string // a file for the log; "" for none
}

// ErrNoTerminal says that there is nobody to ask.
const ErrNoTerminal = noTerminal("there is no terminal to ask on")

// ErrNobodyReads is what Out's writes fail with once nobody reads what comes there, as
// behind "| head". That is no failure of a command.
const ErrNobodyReads = nobodyReads("nobody reads the result any more")

type (
	noTerminal  string
	nobodyReads string
)

func (e noTerminal) Error() string { return string(e) }

func (e nobodyReads) Error() string { return string(e) }

// columns is [Deps.Columns], which may be nil.
func (d *Deps) columns(w io.Writer) int {
	if d.Columns == nil {
		return 0
	}
	return d.Columns(w)
}

// AnchorFile is the file that --anchor or the environment names for what is seen of
// the vault; "" is this computer's own. In the vault's folder it would be put back
// with the vault.
func (d *Deps) AnchorFile() (string, error) {
	name := cmp.Or(d.Session.Globals.Anchor, d.Getenv(EnvAnchor))
	if name == "" {
		return "", nil
	}
	if err := d.OutsideVault(name); err != nil {
		return "", err
	}
	return d.path(name)
}

// path resolves a file name of the command line against the working folder. On
// Windows \name is one of the folder's drive, and C:name one of a folder that
// Windows keeps for each drive.
func (d *Deps) path(name string) (string, error) {
	if filepath.IsAbs(name) || d.WorkDir == nil {
		return name, nil
	}
	if filepath.VolumeName(name) != "" {
		return filepath.Abs(name)
	}
	dir, err := d.WorkDir()
	if err != nil {
		return "", pam.Errorf(pam.ErrIO, "find the working folder: %w", err)
	}
	if name != "" && os.IsPathSeparator(name[0]) {
		return filepath.VolumeName(dir) + name, nil
	}
	return filepath.Join(dir, name), nil
}
