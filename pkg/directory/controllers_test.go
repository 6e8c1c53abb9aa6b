package directory_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/directory"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

// A controller is a domain to ask: the practice domain, and a real one. The same
// questions get the same answers, or the practice domain teaches what is not so.
type controller struct {
	target  remote.Target // logged in to as an administrator
	plain   remote.Target // the same, by StartTLS
	helper  remote.Target // logged in to as a user who may reset nothing
	ca      []byte
	pin     string
	netbios string
	dns     string
	// account makes an account in a state, with a password, and returns its sam.
	account func(t *testing.T, state, password string) string
	machine string // the sam of a computer's or managed account
}

func practiceController(t *testing.T) controller {
	t.Helper()
	p := newPractice(t)
	c := controller{target: p.target(), ca: p.server.PEM(), pin: p.server.Pin(), netbios: "LAB", dns: "lab.example", machine: "gapp$"}
	c.plain = at(t, pam.StartTLS, p.server.PlainAddress(), func(r *remote.Target) {
		r.Pin, r.User, r.Password = c.pin, c.target.User, c.target.Password
	})
	c.helper = c.target
	c.helper.User, c.helper.Password = "helper", word("H3lper-Pass!")
	c.account = func(_ *testing.T, state, password string) string {
		sam := strings.ReplaceAll("svc_"+state, " ", "")
		p.domain.Add(model.User{
			Sam: sam, Password: word(password), Disabled: state == "disabled", Locked: state == "locked",
			MustChange: state == "must change", Expired: state == "expired",
		})
		return sam
	}
	return c
}

// everywhere runs a question at every controller that is at hand.
func everywhere(t *testing.T, ask func(t *testing.T, c controller)) {
	t.Helper()
	t.Run("practice", func(t *testing.T) { ask(t, practiceController(t)) })
	t.Run("samba", func(t *testing.T) { ask(t, sambaController(t)) })
}

const first, second = "F1rst-Pass!word", "S3cond-Pass!word"

func TestAnAccountIsFoundByTheNamesThatPeopleUse(t *testing.T) {
	everywhere(t, func(t *testing.T, c controller) {
		t.Helper()
		sam := c.account(t, "named", first)
		conn := open(t, c.target)
		want := find(t, conn, sam)
		if want.Class != directory.ClassUser || want.Name != c.netbios+`\`+sam || want.Self ||
			want.Disabled || want.Locked || want.MustChange || want.Expired || want.SmartCard || want.BadCount != 0 || want.Threshold == nil || want.Mark == "" {
			t.Errorf("found %+v", want)
		}
		for _, name := range []string{
			c.netbios + `\` + sam, strings.ToLower(c.netbios) + `\` + strings.ToUpper(sam), c.dns + `\` + sam, sam + "@" + c.dns,
		} {
			if got := find(t, conn, name); got.SID != want.SID {
				t.Errorf("%s is %+v", name, got)
			}
		}
		for _, name := range []string{"nobody", sam + ")(objectClass=*", "*", `OTHER\` + sam, sam + "@other.example"} {
			_, err := conn.Find(t.Context(), name)
			wants(t, err, pam.ErrInvalidInput, "nothing changed")
		}
	})
}

func TestA01AResetIsInForceAtOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, c controller) {
		t.Helper()
		for name, password := range map[string]string{
			"plain": second, "quotes": `Qu"o"te\s'1 `, "letters of the world": "Пароль-密码-Ü1-🔑", "long": strings.Repeat("aB3-", 60),
		} {
			sam := c.account(t, "reset "+name, first)
			conn := open(t, c.target)
			before := find(t, conn, sam)
			if outcome, err := conn.Reset(t.Context(), before, word(password)); err != nil || outcome != pam.OutcomeApplied {
				t.Fatalf("%s: %s, %v", name, outcome, err)
			}
			if after := find(t, conn, sam); after.Mark == before.Mark || after.SID != before.SID {
				t.Errorf("%s: marks %s and %s", name, before.Mark, after.Mark)
			}
			if got, err := conn.LogOn(t.Context(), before, word(password)); got != pam.VerdictRight || err != nil {
				t.Errorf("%s: the new password is %s, %v", name, got, err)
			}
			if got, err := conn.LogOn(t.Context(), before, word("N0t-the-password")); got != pam.VerdictWrong || err != nil {
				t.Errorf("%s: another is %s, %v", name, got, err)
			}
			if after := find(t, conn, sam); after.BadCount != 1 {
				t.Errorf("%s: %d failed log-ons counted", name, after.BadCount)
			}
		}
	})
}

func TestA02APasswordThatThePolicyRefusesChangesNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, c controller) {
		t.Helper()
		sam := c.account(t, "weak", first)
		conn := open(t, c.target)
		before := find(t, conn, sam)
		outcome, err := conn.Reset(t.Context(), before, word("short"))
		wants(t, err, pam.ErrPolicy, "password policy of "+c.dns, "0000052D", "nothing changed")
		if outcome != pam.OutcomeRefused || pam.HintOf(err) == "" {
			t.Errorf("outcome %s, hint %q", outcome, pam.HintOf(err))
		}
		outcome, err = conn.Reset(t.Context(), before, word(strings.Repeat("aB3-", 80)))
		wants(t, err, pam.ErrPolicy, "320 characters", "nothing changed")
		if after := find(t, conn, sam); outcome != pam.OutcomeRefused || after.Mark != before.Mark {
			t.Errorf("outcome %s, marks %s and %s", outcome, before.Mark, after.Mark)
		}
	})
}

func TestA04AnAdminWithoutTheRightChangesNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, c controller) {
		t.Helper()
		sam := c.account(t, "guarded", first)
		conn := open(t, c.helper)
		before := find(t, conn, sam)
		outcome, err := conn.Reset(t.Context(), before, word(second))
		wants(t, err, pam.ErrPolicy, "access_denied", "may not reset", "nothing changed")
		if after := find(t, conn, sam); outcome != pam.OutcomeRefused || after.Mark != before.Mark {
			t.Errorf("outcome %s, marks %s and %s", outcome, before.Mark, after.Mark)
		}
	})
}

func TestAStateIsSeenAndAVerdictIsNotMistaken(t *testing.T) {
	everywhere(t, func(t *testing.T, c controller) {
		t.Helper()
		for state, want := range map[string]struct {
			seen  func(a directory.Account) bool
			right pam.Verdict
		}{
			"disabled":    {func(a directory.Account) bool { return a.Disabled }, pam.VerdictRestricted},
			"must change": {func(a directory.Account) bool { return a.MustChange }, pam.VerdictRestricted},
			"expired":     {func(a directory.Account) bool { return a.Expired }, pam.VerdictRestricted},
			"locked":      {func(a directory.Account) bool { return a.Locked }, pam.VerdictCannotTell},
		} {
			sam := c.account(t, state, first)
			conn := open(t, c.target)
			a := find(t, conn, sam)
			if !want.seen(a) {
				t.Errorf("%s: %+v", state, a)
			}
			if got, err := conn.LogOn(t.Context(), a, word(first)); got != want.right || err != nil {
				t.Errorf("%s: the right password is %s, %v", state, got, err)
			}
			wrong := pam.VerdictWrong
			if state == "locked" {
				wrong = pam.VerdictCannotTell
			}
			if got, err := conn.LogOn(t.Context(), a, word("N0t-the-password")); got != wrong || err != nil {
				t.Errorf("%s: a wrong password is %s, %v", state, got, err)
			}
		}
	})
}

func TestAccountsThatPeopleDoNotDecideAreTold(t *testing.T) {
	everywhere(t, func(t *testing.T, c controller) {
		t.Helper()
		conn := open(t, c.target)
		if got := find(t, conn, "krbtgt"); got.Class != directory.ClassBuiltin {
			t.Errorf("krbtgt is %+v", got)
		}
		if got := find(t, conn, c.machine); got.Class != directory.ClassComputer && got.Class != directory.ClassManaged {
			t.Errorf("%s is %+v", c.machine, got)
		}
		if got := find(t, conn, "Administrator"); !got.Self || got.Class != directory.ClassUser {
			t.Errorf("Administrator is %+v", got)
		}
	})
}

func TestALogInThatIsRefusedSaysWhy(t *testing.T) {
	everywhere(t, func(t *testing.T, c controller) {
		t.Helper()
		for name, row := range map[string]struct {
			state, password string
			verdict         bool // on the password
			text            string
		}{
			"a wrong password":   {"plain", "N0t-the-password", true, "the name or the password is wrong"},
			"a disabled account": {"disabled", first, false, "the account is disabled"},
			"one that is locked": {"locked", first, false, "the account is locked out"},
		} {
			target := c.target
			target.User, target.Password = c.account(t, row.state, first), word(row.password)
			_, err := directory.Open(t.Context(), target, directory.Options{
				Now: time.Now, LoggedIn: func() { t.Errorf("%s: the log-in was noted as accepted", name) },
			})
			wants(t, err, pam.ErrAuthFailed, row.text)
			if errors.Is(err, remote.ErrInconclusive) == row.verdict {
				t.Errorf("%s: %v", name, err)
			}
		}
		target := c.target
		target.Password = word("")
		_, err := directory.Open(t.Context(), target, directory.Options{Now: time.Now})
		wants(t, err, pam.ErrAuthFailed, "has no password")
	})
}

func TestOnlyTheServerOfTheRecordIsTrusted(t *testing.T) {
	everywhere(t, func(t *testing.T, c controller) {
		t.Helper()
		for name, row := range map[string]struct {
			change func(r *remote.Target)
			ok     bool
		}{
			"the pinned certificate":          {func(r *remote.Target) { r.Pin = c.pin }, true},
			"another one is pinned":           {func(r *remote.Target) { r.Pin = "sha256:" + strings.Repeat("0", 64) }, false},
			"signed by the record's CA":       {func(r *remote.Target) { r.Pin, r.CAPEM = "", c.ca }, true},
			"nobody that the system knows":    {func(r *remote.Target) { r.Pin, r.CAPEM = "", nil }, false},
			"pinned, begun by StartTLS":       {func(r *remote.Target) { *r = c.plain }, true},
			"another one, begun by StartTLS":  {func(r *remote.Target) { *r = c.plain; r.Pin = "sha256:" + strings.Repeat("0", 64) }, false},
			"the CA's, begun by StartTLS too": {func(r *remote.Target) { *r = c.plain; r.Pin, r.CAPEM = "", c.ca }, true},
		} {
			t.Run(name, func(t *testing.T) {
				target := c.target
				row.change(&target)
				conn, err := directory.Open(t.Context(), target, directory.Options{Now: time.Now})
				if row.ok {
					if err != nil {
						t.Fatal(err)
					}
					_ = conn.Close()
					return
				}
				wants(t, err, pam.ErrUntrusted)
				if shown, ok := errors.AsType[*remote.Error](err); !ok || shown.Server != c.pin || shown.Fingerprint == "" {
					t.Errorf("%+v", shown)
				}
			})
		}
	})
}

func TestA06ALockoutEndsWhenItIsUnlockedAndNotByAReset(t *testing.T) {
	everywhere(t, func(t *testing.T, c controller) {
		t.Helper()
		sam := c.account(t, "locked", first)
		conn := open(t, c.target)
		a := find(t, conn, sam)
		if outcome, err := conn.Reset(t.Context(), a, word(second)); err != nil || outcome != pam.OutcomeApplied {
			t.Fatalf("%s, %v", outcome, err)
		}
		if got, err := conn.LogOn(t.Context(), a, word(second)); got != pam.VerdictCannotTell || err != nil {
			t.Errorf("locked: %s, %v", got, err)
		}
		wants(t, open(t, c.helper).Unlock(t.Context(), a), pam.ErrPolicy, "access_denied", "nothing changed")
		if err := conn.Unlock(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if a := find(t, conn, sam); a.Locked || a.BadCount != 0 {
			t.Errorf("unlocked: %+v", a)
		}
		if got, err := conn.LogOn(t.Context(), a, word(second)); got != pam.VerdictRight || err != nil {
			t.Errorf("unlocked: %s, %v", got, err)
		}
	})
}
