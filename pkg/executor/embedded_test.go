package executor

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"keyturn/pkg/dependency"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/rotator"
	"keyturn/pkg/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A rig is an executor whose targets are funcs.
type rig struct {
	*Embedded
	log    strings.Builder
	dialed atomic.Int32
	dial   func(remote.Target) error
	rot    fakeRotator
	host   fakeHost
}

func newRig() *rig {
	r := &rig{}
	r.Embedded = NewEmbedded(Options{
		Dialers: map[pam.Transport]remote.Dialer{pam.SSH: r}, Random: rand.Reader, Now: time.Now,
		Logger: slog.New(slog.NewTextHandler(&r.log, nil)),
	})
	r.rotators = func(_ pam.AuthorityKind, d *watchedDialer) (rotator.Rotator, error) {
		rot := r.rot
		rot.dialer = d
		return &rot, nil
	}
	r.open = func(ctx context.Context, d remote.Dialer, t remote.Target) (dependency.Host, error) {
		if _, err := d.Dial(ctx, t); err != nil {
			return nil, err
		}
		return &r.host, nil
	}
	return r
}

func (r *rig) Dial(_ context.Context, t remote.Target) (remote.Session, error) {
	r.dialed.Add(1)
	if r.dial != nil {
		return nil, r.dial(t)
	}
	return nil, nil //nolint:nilnil // nobody uses the session
}

type fakeRotator struct {
	dialer remote.Dialer
	set    func(context.Context, rotator.Authority, rotator.Change) (pam.Outcome, error)
	verify func(context.Context, rotator.Authority, remote.Dialer) (pam.Verdict, error)
	check  func(context.Context) (rotator.Findings, error)
}

func (f *fakeRotator) Check(ctx context.Context, _ rotator.Authority) (rotator.Findings, error) {
	return f.check(ctx)
}

func (*fakeRotator) Evidence(context.Context, rotator.Authority) (pam.Evidence, error) {
	return pam.Evidence{Mark: "m", Exact: true}, nil
}

func (f *fakeRotator) Set(ctx context.Context, a rotator.Authority, c rotator.Change) (pam.Outcome, error) {
	return f.set(ctx, a, c)
}

func (f *fakeRotator) Verify(ctx context.Context, a rotator.Authority, _ secret.Value) (pam.Verdict, error) {
	return f.verify(ctx, a, f.dialer)
}

type fakeHost struct {
	restart func(context.Context, func(dependency.ItemResult)) error
	closed  atomic.Int32
}

func (*fakeHost) Look(context.Context, dependency.LookRequest) (dependency.Inventory, error) {
	return dependency.Inventory{Host: "SRV1"}, nil
}

func (*fakeHost) Update(
	_ context.Context, _ dependency.UpdateRequest, next secret.Value, on func(dependency.ItemResult),
) (dependency.Update, error) {
	on(dependency.ItemResult{Name: "A", Reason: string(next.Reveal())})
	return dependency.Update{Rejected: true}, nil
}

func (f *fakeHost) Restart(ctx context.Context, _ pam.UID, _ pam.RestartPlan, on func(dependency.ItemResult)) error {
	return f.restart(ctx, on)
}

func (f *fakeHost) Repair(ctx context.Context, _ pam.UID, _ pam.RestartPlan, on func(dependency.ItemResult)) error {
	return f.restart(ctx, on)
}

func (f *fakeHost) Close() error {
	f.closed.Add(1)
	return errors.New("already gone")
}

var (
	endpoint = remote.Endpoint{Transport: pam.SSH, Host: "srv1", Port: 22}
	login    = Login{User: "admin", Password: 0, PrivateKey: -1}
	atLinux  = Authority{Kind: pam.AuthorityLinux, Endpoint: endpoint, Login: login, Account: pam.Account{Name: "svc"}}
	onSrv1   = Machine{UID: "m1", Endpoint: endpoint, Login: login}
)

func op(id string, fence int64, r Request) Op {
	secrets := []secret.Value{secret.New([]byte("admin-pw")), secret.New([]byte("next-pw")), secret.New([]byte("old-pw"))}
	return Op{ID: pam.UID(id), Lane: "lane", Fence: fence, Request: r, Secrets: secrets}
}

func TestSetPassesSecretsByIndex(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.rot.set = func(_ context.Context, a rotator.Authority, c rotator.Change) (pam.Outcome, error) {
		if got := string(a.Admin.Password.Reveal()) + " " + string(c.Next.Reveal()) + " " + string(c.Current.Reveal()); got != "admin-pw next-pw old-pw" {
			t.Errorf("got secrets %q", got)
		}
		return pam.OutcomeApplied, nil
	}
	res, err := r.Do(t.Context(), op("1", 1, Set{Authority: atLinux, Next: 1, Current: 2}), nil)
	if err != nil || res.Outcome != pam.OutcomeApplied || res.State != OpDone {
		t.Errorf("got %+v, %v", res, err)
	}
	for _, canary := range []string{"admin-pw", "next-pw", "old-pw"} {
		if strings.Contains(r.log.String(), canary) {
			t.Errorf("the log holds a secret: %s", r.log.String())
		}
	}
}

func TestDoRefusesWithoutDoing(t *testing.T) {
	t.Parallel()
	elsewhere := atLinux
	elsewhere.Endpoint.Transport = "telnet"
	for _, row := range []struct {
		name string
		op   Op
		want pam.Kind
	}{
		{"an op without an id", op("", 1, Verify{Authority: atLinux, Password: 1}), pam.ErrInternal},
		{"an op without a lane", Op{ID: "1", Request: Verify{}}, pam.ErrInternal},
		{"an op without a request", Op{ID: "1", Lane: "x"}, pam.ErrInternal},
		{"a transport that is not there", op("1", 1, Verify{Authority: elsewhere, Password: 1}), pam.ErrInvalidInput},
		{"a secret beyond the segment", op("1", 1, Verify{Authority: atLinux, Password: 3}), pam.ErrInternal},
		{"a negative secret", op("1", 1, Verify{Authority: atLinux, Password: -2}), pam.ErrInternal},
		{"an unlocking where nothing locks by itself", op("1", 1, Unlock{Authority: atLinux}), pam.ErrInvalidInput},
		{"no secret where one is needed", op("1", 1, Set{Authority: atLinux, Next: -1, Current: -1}), pam.ErrInternal},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			_, err := r.Do(t.Context(), row.op, nil)
			if !errors.Is(err, row.want) || r.dialed.Load() != 0 {
				t.Errorf("got %v after %d dials", err, r.dialed.Load())
			}
		})
	}
}

func TestUnknownAuthorityIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := newRotator(Options{}, "mainframe", nil); !errors.Is(err, pam.ErrInvalidInput) {
		t.Errorf("got %v", err)
	}
	for _, kind := range []pam.AuthorityKind{pam.AuthorityLinux, pam.AuthorityWindows} {
		if rot, err := newRotator(Options{}, kind, nil); err != nil || rot == nil {
			t.Errorf("%s: got %v, %v", kind, rot, err)
		}
	}
}

func TestSameIDIsDoneOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		var calls atomic.Int32
		release := make(chan struct{})
		r.rot.set = func(context.Context, rotator.Authority, rotator.Change) (pam.Outcome, error) {
			calls.Add(1)
			<-release
			return pam.OutcomeUnknown, pam.Errorf(pam.ErrUnknownOutcome, "lost")
		}
		set := op("1", 1, Set{Authority: atLinux, Next: 1, Current: -1})
		answers := make(chan error, 3)
		for range 3 {
			go func() {
				res, err := r.Do(t.Context(), set, nil)
				if res.Outcome != pam.OutcomeUnknown {
					t.Errorf("outcome %q", res.Outcome)
				}
				answers <- err
			}()
		}
		synctest.Wait()
		if res, err := r.Query(t.Context(), "1"); res.State != OpRunning || err != nil {
			t.Errorf("query of a running op: %+v, %v", res, err)
		}
		impatient, cancel := context.WithCancel(t.Context())
		cancel()
		if res, err := r.Do(impatient, set, nil); res.State != OpRunning || !errors.Is(err, context.Canceled) {
			t.Errorf("a wait that was given up: %+v, %v", res, err)
		}
		close(release)
		for range 3 {
			if err := <-answers; !errors.Is(err, pam.ErrUnknownOutcome) {
				t.Errorf("got %v", err)
			}
		}
		if _, err := r.Do(t.Context(), set, nil); !errors.Is(err, pam.ErrUnknownOutcome) || calls.Load() != 1 {
			t.Errorf("sent again: %v after %d calls", err, calls.Load())
		}
		if res, err := r.Query(t.Context(), "1"); res.State != OpDone || res.Outcome != pam.OutcomeUnknown || !errors.Is(err, pam.ErrUnknownOutcome) {
			t.Errorf("query of a done op: %+v, %v", res, err)
		}
		if res, _ := r.Query(t.Context(), "2"); res.State != OpNeverSeen {
			t.Errorf("query of an op never seen: %+v", res)
		}
	})
}

func TestOnlyTheLatestAnswersAreKept(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.memory = newMemory(2)
	for _, id := range []string{"1", "2", "3"} {
		if _, err := r.Do(t.Context(), op(id, 1, Look{Machine: onSrv1}), nil); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[pam.UID]QueryState{"1": OpNeverSeen, "2": OpDone, "3": OpDone} {
		if res, _ := r.Query(t.Context(), id); res.State != want {
			t.Errorf("op %s is %s, want %s", id, res.State, want)
		}
	}
}

func TestLaneTakesOneOpAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		var inside, most atomic.Int32
		r.rot.verify = func(context.Context, rotator.Authority, remote.Dialer) (pam.Verdict, error) {
			most.Store(max(most.Load(), inside.Add(1)))
			time.Sleep(time.Second)
			inside.Add(-1)
			return pam.VerdictRight, nil
		}
		done := make(chan error)
		for _, id := range []string{"1", "2", "3", "4"} {
			go func() {
				_, err := r.Do(t.Context(), op(id, 1, Verify{Authority: atLinux, Password: 1}), nil)
				done <- err
			}()
		}
		other := op("5", 1, Verify{Authority: atLinux, Password: 1})
		other.Lane = "another lane"
		begun := time.Now()
		if _, err := r.Do(t.Context(), other, nil); err != nil || time.Since(begun) != time.Second {
			t.Errorf("another lane waited: %v after %v", err, time.Since(begun))
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if most.Load() != 2 || time.Since(begun) != 4*time.Second { // one of each lane
			t.Errorf("%d at once, %v together", most.Load(), time.Since(begun))
		}
	})
}

func TestOpCancelledInTheQueueIsNotBegun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		release := make(chan struct{})
		var sets atomic.Int32
		r.rot.set = func(context.Context, rotator.Authority, rotator.Change) (pam.Outcome, error) {
			sets.Add(1)
			<-release
			return pam.OutcomeApplied, nil
		}
		set := Set{Authority: atLinux, Next: 1, Current: -1}
		go func() { _, _ = r.Do(t.Context(), op("1", 1, set), nil) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		res, err := r.Do(ctx, op("2", 1, set), nil)
		if !errors.Is(err, context.DeadlineExceeded) || res.Outcome != pam.OutcomeRefused || res.State != OpNeverSeen {
			t.Errorf("got %+v, %v", res, err)
		}
		close(release)
		if res, err := r.Do(t.Context(), op("2", 1, set), nil); err != nil || res.Outcome != pam.OutcomeApplied || sets.Load() != 2 {
			t.Errorf("sent again: %+v, %v, %d sets", res, err, sets.Load())
		}
	})
}

func TestLateOpIsRefusedByItsFence(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.rot.check = func(context.Context) (rotator.Findings, error) { return rotator.Findings{Locked: true}, nil }
	r.rot.set = func(context.Context, rotator.Authority, rotator.Change) (pam.Outcome, error) {
		return pam.OutcomeApplied, nil
	}
	set := Set{Authority: atLinux, Next: 1, Current: -1}
	if _, err := r.Do(t.Context(), op("1", 5, set), nil); err != nil {
		t.Fatal(err)
	}
	dials := r.dialed.Load()
	for n, late := range []Request{set, Verify{Authority: atLinux, Password: 1}, Restart{Machine: onSrv1}, Update{Machine: onSrv1, Next: 1}} {
		res, err := r.Do(t.Context(), op("late"+string(rune('0'+n)), 4, late), nil)
		if !errors.Is(err, pam.ErrConflict) || r.dialed.Load() != dials {
			t.Errorf("%T: got %+v, %v", late, res, err)
		}
	}
	for _, same := range []int64{5, 6} {
		if _, err := r.Do(t.Context(), op("same"+string(rune('0'+same)), same, set), nil); err != nil {
			t.Errorf("fence %d: %v", same, err)
		}
	}
	if res, err := r.Do(t.Context(), op("look", 0, Check{Authority: atLinux}), nil); err != nil || !res.Findings.Locked {
		t.Errorf("a look comes before its job has a fence: %+v, %v", res, err)
	}
}

func TestPanicIsOneOpsFailure(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.rot.set = func(context.Context, rotator.Authority, rotator.Change) (pam.Outcome, error) { panic("next-pw") }
	res, err := r.Do(t.Context(), op("1", 1, Set{Authority: atLinux, Next: 1, Current: -1}), nil)
	if !errors.Is(err, pam.ErrInternal) || res.Outcome != pam.OutcomeUnknown || res.State != OpDone {
		t.Errorf("got %+v, %v", res, err)
	}
	if strings.Contains(r.log.String()+err.Error(), "next-pw") {
		t.Error("the cause of a panic may hold a secret, and is not told")
	}
	r.host.restart = func(context.Context, func(dependency.ItemResult)) error { panic(r) }
	if _, err := r.Do(t.Context(), op("2", 1, Restart{Machine: onSrv1}), nil); !errors.Is(err, pam.ErrInternal) || r.host.closed.Load() != 1 {
		t.Errorf("got %v, %d sessions closed", err, r.host.closed.Load())
	}
}

func TestLoggedInIsTheAdminsLogIn(t *testing.T) {
	t.Parallel()
	refused := &remote.Error{Kind: pam.ErrAuthFailed, Address: "srv1:22", Op: "log in", Err: errors.New("no")}
	for _, row := range []struct {
		name   string
		user   string // who verify logs in as
		dial   error
		want   bool
		failed pam.Kind
	}{
		{name: "the admin", user: "admin", want: true},
		{name: "the account itself", user: "svc"},
		{name: "the admin, refused", user: "admin", dial: refused, failed: pam.ErrAuthFailed},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			r.dial = func(remote.Target) error { return row.dial }
			r.rot.verify = func(ctx context.Context, a rotator.Authority, d remote.Dialer) (pam.Verdict, error) {
				target := a.Admin
				target.User = row.user
				_, err := d.Dial(ctx, target)
				return pam.VerdictNone, err
			}
			res, err := r.Do(t.Context(), op("1", 1, Verify{Authority: atLinux, Password: 1}), nil)
			if res.LoggedIn != row.want {
				t.Errorf("logged in: %v", res.LoggedIn)
			}
			if row.failed != "" {
				var typed *remote.Error
				if !errors.Is(err, row.failed) || !errors.As(err, &typed) {
					t.Errorf("the dial's failure lost its type: %v", err)
				}
			}
		})
	}
}

func TestLoggedInStaysKnownWhenTheRestFails(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.host.restart = func(_ context.Context, on func(dependency.ItemResult)) error {
		on(dependency.ItemResult{Name: "A", Status: pam.StatusOK})
		return &remote.Error{Kind: pam.ErrIO, Err: io.ErrUnexpectedEOF, Sent: true}
	}
	var heard []string
	res, err := r.Do(t.Context(), op("1", 1, Repair{Machine: onSrv1}), func(e Event) { heard = append(heard, e.Item.Name) })
	if !res.LoggedIn || !errors.Is(err, pam.ErrIO) || len(heard) != 1 {
		t.Errorf("got %+v, %v, events %v", res, err, heard)
	}
}

func TestEveryVerbAnswersInItsField(t *testing.T) {
	t.Parallel()
	r := newRig()
	if res, err := r.Do(t.Context(), op("1", 1, ReadEvidence{Authority: atLinux}), nil); err != nil || res.Evidence.Mark != "m" {
		t.Errorf("evidence: %+v, %v", res, err)
	}
	if res, err := r.Do(t.Context(), op("2", 1, Look{Machine: onSrv1}), nil); err != nil || res.Inventory.Host != "SRV1" {
		t.Errorf("look: %+v, %v", res, err)
	}
	var reason string
	res, err := r.Do(t.Context(), op("3", 1, Update{Machine: onSrv1, Next: 1}), func(e Event) { reason = e.Item.Reason })
	if err != nil || !res.Update.Rejected || reason != "next-pw" {
		t.Errorf("update: %+v, %v, event %q", res, err, reason)
	}
}

func TestEachVerbHasItsTime(t *testing.T) {
	t.Parallel()
	plan := pam.RestartPlan{
		Stops: make([]pam.Stop, 2), Starts: make([]pam.Start, 2), StopTimeout: time.Second, StartTimeout: 2 * time.Second, Settle: time.Second,
	}
	for _, row := range []struct {
		request Request
		want    time.Duration
	}{
		{Check{}, time.Minute},
		{Set{}, time.Minute},
		{Update{}, 10 * time.Minute},
		{Restart{Plan: plan}, time.Minute + 2*time.Second + 12*time.Second + time.Second},
		{Repair{Plan: plan}, time.Minute + 2*time.Second + 12*time.Second + time.Second},
		{Restart{Plan: pam.RestartPlan{Stops: make([]pam.Stop, 9999), StopTimeout: 1 << 62}}, 30 * time.Minute},
		{Restart{Plan: pam.RestartPlan{Stops: make([]pam.Stop, 9), StopTimeout: -time.Hour}}, time.Minute},
	} {
		if got := limit(row.request); got != row.want {
			t.Errorf("%T: %v, want %v", row.request, got, row.want)
		}
	}
}

func TestSlowTargetEndsWithTheVerbsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.rot.check = func(ctx context.Context) (rotator.Findings, error) {
			<-ctx.Done()
			return rotator.Findings{}, pam.Errorf(pam.ErrUnreachable, "no answer: %w", ctx.Err())
		}
		begun := time.Now()
		if _, err := r.Do(t.Context(), op("1", 0, Check{Authority: atLinux}), nil); !errors.Is(err, pam.ErrUnreachable) || time.Since(begun) != time.Minute {
			t.Errorf("got %v after %v", err, time.Since(begun))
		}
	})
}
