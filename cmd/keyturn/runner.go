package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"runtime/debug"

	"keyturn/commands"
	engine "keyturn/pkg/job"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault"
)

// programName is argv[0] of the runner: messages and process lists name it.
const programName = "keyturn"

// maxKeyBytes bounds what is read from the pipe; a vault key is far shorter, and
// fits into a pipe without a reader.
const maxKeyBytes = 1024

// startJob starts "keyturn job-runner JOB" as a process of its own: it outlives
// this one, has no terminal, and gets the vault key through a pipe.
func (p *process) startJob(ctx context.Context, job pam.Job) (commands.WaitJob, error) {
	v, err := p.vault(ctx)
	if err != nil {
		return nil, err
	}
	cmd, err := p.runnerCommand(context.WithoutCancel(ctx), job.ID)
	if err != nil {
		return nil, err
	}
	key := v.Key()
	defer key.Destroy()
	c, err := startWithKey(cmd, key)
	if err != nil {
		return nil, pam.Errorf(pam.ErrIO, "start the process of job %s: %w; nothing changed", job.ID, err).
			WithHint("keyturn pam action resume %s", job.ID)
	}
	return func(ctx context.Context, on func(pam.Job)) (pam.Job, error) {
		j, err := commands.Poll(ctx, v, job.ID, c.gone, on)
		if why := c.report(); err == nil && why != nil && !j.State.Terminal() {
			return j, commands.Unfinished(j, why)
		}
		return j, err
	}, nil
}

// runnerCommand is the runner's command line. ctx must not end with the command
// that starts it.
func (p *process) runnerCommand(ctx context.Context, job pam.UID) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, pam.Errorf(pam.ErrIO, "find this program: %w", err)
	}
	dir, err := p.d.VaultDir()
	if err != nil {
		return nil, err
	}
	anchor, err := p.d.AnchorFile()
	if err != nil {
		return nil, err
	}
	args := []string{"--vault", dir}
	if anchor != "" {
		args = append(args, "--anchor", anchor)
	}
	if log := p.d.Session.Globals.Debug; log != "" {
		args = append(args, "--debug", log)
	}
	cmd := exec.CommandContext(ctx, self) //nolint:gosec // this very program
	cmd.Args = append(append([]string{programName}, args...), "job-runner", string(job))
	cmd.Env = runnerEnv()
	detach(cmd)
	return cmd, nil
}

// runnerEnv is what the runner needs of the environment and nothing more.
func runnerEnv() []string {
	env := []string{} // not nil: nil would pass everything on
	for _, name := range []string{
		"PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "GOCOVERDIR", "GORACE", "XDG_STATE_HOME",
		"SSH_AUTH_SOCK", commands.EnvNetwork,
		"SYSTEMROOT", "SYSTEMDRIVE", "USERPROFILE", "LOCALAPPDATA", "TEMP", "TMP",
	} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// runJob is the runner: it opens the vault with the key from the pipe and runs
// the engine, which takes the account's lock.
func (p *process) runJob(ctx context.Context, job pam.UID) (err error) {
	defer func() { report(err) }()
	key, err := inheritedKey("job-runner")
	if err != nil {
		return err
	}
	defer key.Destroy()
	debug.SetMemoryLimit(engine.MemoryLimit)
	return p.runWith(ctx, key, job)
}

// runWith runs a job in this process, on a vault of its own that key opens.
func (p *process) runWith(ctx context.Context, key secret.Value, job pam.UID) error {
	dir, err := p.d.VaultDir()
	if err != nil {
		return err
	}
	log, closeLog, err := p.logger()
	if err != nil {
		return err
	}
	defer closeLog()
	o, err := p.options(0)
	if err != nil {
		return err
	}
	v, err := vault.Open(ctx, dir, key, o)
	if err != nil {
		return err
	}
	defer v.Close() //nolint:errcheck // every write was durable when it was made
	j, err := p.engine(v, log).Run(ctx, job)
	if err != nil {
		return err
	}
	if j.ExitCode() != 0 {
		return pam.Errorf(j.Failure, "%s", j.Message)
	}
	return nil
}

// inheritedKey reads the vault key. It refuses a terminal: a person who starts
// the runner by hand has no key to give.
func inheritedKey(command string) (secret.Value, error) {
	f := keyPipe()
	defer f.Close() //nolint:errcheck // only read
	notStarted := pam.Errorf(pam.ErrUsage, "%s is started by keyturn itself", command)
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return secret.Value{}, notStarted
	}
	b := make([]byte, maxKeyBytes)
	n := 0
	for n < len(b) {
		m, err := f.Read(b[n:])
		n += m
		if err != nil {
			break
		}
	}
	if n == 0 || n == len(b) {
		clear(b)
		return secret.Value{}, notStarted
	}
	key := secret.New(bytes.Clone(b[:n]))
	clear(b)
	return key, nil
}
