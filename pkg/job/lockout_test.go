package job

import (
	"slices"
	"strings"
	"testing"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/pam"
)

// lockOut locks the account, with the wrong passwords that did it, and makes a
// job that is told to unlock it.
func (l *labScene) lockOut() {
	l.fleet.Domain.Configure("svc_app", func(u *model.User) { u.Locked = true })
	l.store.job.Options.Unlock = true
}

// told is what happened to the account at its authority, in order.
func (l *labScene) told() string {
	var words []string
	for _, e := range l.fleet.DC.Events() {
		if e.Kind == model.AccountUnlocked || e.Kind == model.PasswordSet {
			words = append(words, string(e.Kind))
		}
	}
	return strings.Join(words, " ")
}

func (l *labScene) locked() bool {
	v, _ := l.fleet.Domain.User("svc_app")
	return v.Locked
}

func TestRowsOfALockout(t *testing.T) {
	t.Parallel()
	const once = "account_unlocked password_set"
	tellRows(t, []row{
		{"A06 told to unlock it: it is let in right before its password changes, and that is noted", 2, 0, func(l *labScene) {
			l.lockOut()
			plan, err := l.engine().Plan(l.t.Context(), uid("U"), l.store.job.Options)
			warned := slices.ContainsFunc(plan.Notes, func(w string) bool { return strings.Contains(w, "is locked out") })
			if err != nil || !warned || !l.locked() {
				l.t.Errorf("the plan: %v, %q, still locked: %v", err, plan.Notes, l.locked())
			}
			l.must(0)
			l.allGood()
			if l.told() != once || l.store.unlocks != 1 || l.locked() {
				l.t.Errorf("%s, noted %d times", l.told(), l.store.unlocks)
			}
		}},
		{"A06 told to unlock an account that is not locked: nothing is", 1, 0, func(l *labScene) {
			l.store.job.Options.Unlock = true
			if l.must(0); l.told() != "password_set" || l.store.unlocks != 0 {
				l.t.Errorf("%s, noted %d times", l.told(), l.store.unlocks)
			}
		}},
		{"A06 the answer of the unlocking is lost: the job ends, the password is as it was, and the next job goes on", 1, 0, func(l *labScene) {
			l.lockOut()
			l.net.cut["DC01"] = model.AccountUnlocked
			j := l.must(5)
			if !strings.Contains(j.Message, "may still be locked out") || !strings.Contains(j.Message, passwordAsItWas) ||
				strings.Contains(j.Message, "nothing changed") || l.told() != "account_unlocked" {
				l.t.Errorf("%s; %s", l.told(), j.Message)
			}
			l.inForce()
			l.fresh()
			l.must(0)
			l.allGood()
		}},
		{"A06 the password is refused after all: the message says that the account was unlocked", 1, 0, func(l *labScene) {
			l.lockOut()
			l.fleet.Domain.SetPolicy(model.Policy{MinLength: 200})
			if j := l.must(1); !strings.HasSuffix(j.Message, "except that the account was unlocked") || l.told() != "account_unlocked" {
				l.t.Errorf("%s; %s", l.told(), j.Message)
			}
			l.inForce()
		}},
		{"A06 a crash after the unlocking, and it is locked again: the resumed job unlocks it again, and sends the same password", 1, 1, func(l *labScene) {
			l.lockOut()
			l.dies = "unlock"
			if _, killed := l.job(); !killed {
				l.t.Fatal("it lived")
			}
			staged, err := l.store.Generation(l.t.Context(), "", pam.Pending)
			if err != nil {
				l.t.Fatal(err)
			}
			l.fleet.Domain.Configure("svc_app", func(u *model.User) { u.Locked = true })
			l.must(0)
			l.allGood()
			if l.inForce() != string(staged.Password.Reveal()) || l.told() != "account_unlocked "+once {
				l.t.Errorf("%s, or another password", l.told())
			}
		}},
		{"A06 a job that was not told to unlock stays open when its account is locked under it, and says what to do", 1, 0, func(l *labScene) {
			l.dies = "set"
			if _, killed := l.job(); !killed {
				l.t.Fatal("it lived")
			}
			l.fleet.Domain.Configure("svc_app", func(u *model.User) { u.Locked = true })
			if j := l.must(6); j.State != pam.JobOpen || !strings.Contains(j.Message, "is locked out") || strings.Contains(j.Message, "nothing changed") {
				l.t.Errorf("%s: %s", j.State, j.Message)
			}
			l.fleet.Domain.Configure("svc_app", func(u *model.User) { u.Locked = false })
			l.must(0)
			l.allGood()
		}},
		{"A06 a local account is unlocked at its machine", 1, 0, func(l *labScene) {
			sam := l.local()
			sam.Configure("svc_local", func(u *model.User) { u.Locked = true })
			l.must(1)
			l.fresh()
			l.store.job.Options.Unlock = true
			l.must(0)
			if v, _ := sam.User("svc_local"); v.Locked || v.Changes != 1 {
				l.t.Errorf("%+v", v)
			}
		}},
	})
}
