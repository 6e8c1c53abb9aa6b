package job

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"keyturn/pkg/pam"
	"keyturn/pkg/password"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
)

// nothingChanged is the text of a failure before anything was changed, which it
// says unless it does already.
func nothingChanged(err error) string {
	text := err.Error()
	if strings.Contains(text, "nothing changed") || strings.Contains(text, passwordAsItWas) || errors.Is(err, pam.ErrDrift) {
		return text
	}
	return text + "; nothing changed"
}

// failedMessage is the text of a job that failed before the password changed.
func (r *run) failedMessage(err error) string {
	if r.unlocked {
		return nothingChanged(err) + ", except that the account was unlocked"
	}
	return nothingChanged(err)
}

// finishedMessage is the reference page's sentence, and how much it stands for.
func (r *run) finishedMessage() string {
	if r.superseded() {
		return fmt.Sprintf("what job %s left stopped runs; the rest is the business of job %s, which took its place",
			r.job.ID, r.job.SupersededBy)
	}
	c := count(r.steps.all())
	text := fmt.Sprintf("Rotation completed for record uid %s", r.job.User)
	if c.machines > 0 {
		text += " with post-execution"
	}
	if r.job.Verdict == pam.VerdictCannotTell {
		text += " (unverified: the account may not log on from here)"
	}
	return text
}

// partly tells of a job that did not get everything done.
func (r *run) partly() (message, hint string) {
	if r.onlyDeferred() {
		return r.deferredMessage(), r.deferredHint()
	}
	return r.partialMessage(), r.partialHint()
}

// unfollowed tells of a job that changed the password and broke off.
func (r *run) unfollowed(err error) (message, hint string) {
	if errors.Is(err, pam.ErrConflict) { // it says itself why nobody resumes it
		return err.Error(), pam.HintOf(err)
	}
	return "the password was changed, but the machines could not be followed up: " + err.Error(), r.thenResume(pam.HintOf(err))
}

// partialMessage says what is left, item by item up to a few.
func (r *run) partialMessage() string {
	return fmt.Sprintf("the password of %s was changed, and this is left: %s", r.account.Name,
		leftOf(r.steps.all(), func(i pam.Item) bool { return !i.Status.Done() }))
}

// partialHint is what helps against the failures that are left, up to a few: against
// what kept machines out of reach, then by the classes of items; and then the command
// that tries again.
func (r *run) partialHint() string {
	const shown = 2
	var help []string
	add := func(text string) {
		if len(help) < shown && !slices.Contains(help, text) {
			help = append(help, text)
		}
	}
	for _, s := range r.sites {
		// One admin may log in to all of them: what helps is said once.
		if hint := pam.HintOf(s.missed); hint != "" && !r.over(s) {
			add(hint + ".")
		}
	}
	for _, i := range r.steps.all() {
		class := i.Reason
		if i.Error != nil {
			class = i.Error.Class
		}
		// What is no class of the script's is explained by its message alone.
		if !i.Status.Done() && slices.Contains(powershell.Classes(), class) {
			add(class + ": " + powershell.Explain(class))
		}
	}
	return r.thenResume(strings.Join(help, " "))
}

// thenResume is what helps, and then the command that tries again.
func (r *run) thenResume(help string) string {
	resume := "keyturn pam action resume " + string(r.job.ID)
	switch {
	case help == "" || strings.Contains(help, resume):
		return cmp.Or(help, resume)
	case strings.HasSuffix(help, "."):
		return help + " Then: " + resume
	}
	return help + "; then: " + resume
}

// leftOf names some of the items and why they stand as they do, up to a few.
func leftOf(items []pam.Item, which func(pam.Item) bool) string {
	var left []string
	for _, i := range items {
		if !which(i) {
			continue
		}
		what := i.MachineTitle
		if i.Kind != pam.KindMachine && i.Kind != pam.KindAccount {
			what += ": " + i.Kind.Label() + " " + i.Name
		}
		why := i.Reason
		if i.Error != nil {
			why = i.Error.Class
		}
		left = append(left, strings.TrimSpace(what+" ("+string(i.Status)+" "+why)+")")
	}
	const shown = 5
	more := ""
	if len(left) > shown {
		more = fmt.Sprintf(" and %d more", len(left)-shown)
		left = left[:shown]
	}
	return strings.Join(left, "; ") + more
}

type counts struct{ machines, updated, restarted int }

func count(items []pam.Item) counts {
	var c counts
	machines := map[pam.UID]bool{}
	for _, i := range items {
		if i.Kind == pam.KindAccount || i.Reason == reasonDisabled {
			continue
		}
		machines[i.Machine] = true
		if i.Updated {
			c.updated++
		}
		if i.Phase == pam.PhaseRestart && i.Status == pam.StatusOK {
			c.restarted++
		}
	}
	c.machines = len(machines)
	return c
}

// describe gives a failure on a machine its name and, for the usual causes, the
// next step. The kind stays.
func describe(m pam.Machine, admin pam.Login, err error) error {
	kind := pam.KindOf(err)
	e := pam.Errorf(kind, "%s %q (%s, %s): %w", m.Noun(), m.Title, m.UID, m.Address(), err)
	if hint := pam.HintOf(err); hint != "" {
		return e.WithHint("%s", named(hint, m, admin))
	}
	switch kind {
	case pam.ErrUnreachable:
		if name := remote.UnknownName(err); name != "" {
			return e.WithHint("no name server knows %s: check how it is spelled, and which name servers this computer asks: "+
				"keyturn record-update -r %s pamHostname=HOST:%d", name, m.UID, m.Port)
		}
		return e.WithHint("check that it is up and that %s answers; --skip-unreachable leaves such machines for later", m.Address())
	case pam.ErrAuthFailed:
		return e.WithHint("check the password of admin %q: keyturn record-update -r %s password=", admin.Title, admin.Record)
	case pam.ErrUntrusted:
		return e.WithHint("%s", trustHint(m, err))
	default:
		return e
	}
}

// named fills in what a hint leaves open for a floor that knows no record: the machine
// or directory, its host, and who logs in there.
func named(hint string, m pam.Machine, admin pam.Login) string {
	return strings.NewReplacer("DIRECTORY", string(m.UID), "=HOST:", "="+m.Host+":", "ADMIN:", admin.User+":").Replace(hint)
}

// ofUser fills in the user of a hint, and rules that most policies take.
func (r *run) ofUser(err error) error {
	hint := pam.HintOf(err)
	filled := strings.NewReplacer("-r USER", "-r "+string(r.job.User), "-x RULES", "-x "+r.stricter()).Replace(hint)
	if filled == hint {
		return err
	}
	return pam.Errorf(pam.KindOf(err), "%w", err).WithHint("%s", filled)
}

// stricter are rules beyond those of the user.
func (r *run) stricter() string {
	rules, err := r.rules()
	if err != nil {
		rules = password.DefaultRules()
	}
	const least = 4
	rules.Upper, rules.Lower = max(rules.Upper, least), max(rules.Lower, least)
	rules.Digits, rules.Symbols = max(rules.Digits, least), max(rules.Symbols, least)
	rules.Length = max(rules.Length+least, 24, rules.Upper+rules.Lower+rules.Digits+rules.Symbols)
	rules.Length, rules.Specials = min(rules.Length, password.MaxLength), ""
	return rules.String()
}

// atOnce tells that an authority that does not answer cannot be left for later,
// like a machine can.
func atOnce(m pam.Machine, err error) error {
	if pam.KindOf(err) != pam.ErrUnreachable || pam.HintOf(err) != "" {
		return err
	}
	return pam.Errorf(pam.ErrUnreachable, "%w", err).
		WithHint("check that it is up and that %s answers: the password is decided there, and nothing stands in for it", m.Address())
}

// trustHint is the command that accepts what an unknown server showed.
func trustHint(m pam.Machine, err error) string {
	server, fingerprint := shownBy(err)
	switch {
	case server == "":
		return "check who answers at " + m.Address()
	case m.Transport == pam.SSH:
		return fmt.Sprintf("compare %s with its own, then: keyturn record-update -r %s 'c.text.hostKey=%s'",
			fingerprint, m.UID, server)
	case m.ServerPin != "" && !strings.EqualFold(m.ServerPin, server):
		return fmt.Sprintf("on record is %s, and it shows %s: its certificate was renewed, or something else answers there. "+
			"Compare what it shows with the machine's own (docs/windows.md says how), and if they are the same: "+
			"keyturn record-update -r %s c.text.serverPin=%s", m.ServerPin, server, m.UID, server)
	default:
		return fmt.Sprintf("compare it with its own, then: keyturn record-update -r %s c.text.serverPin=%s",
			m.UID, server)
	}
}

// joined keeps the first error's kind and hint over a list of failures.
func (r *run) joined(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	if len(errs) == 1 {
		return errs[0]
	}
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	all := errors.Join(errs...)
	hint := pam.HintOf(errs[0])
	untrusted := func(err error) bool { return pam.KindOf(err) == pam.ErrUntrusted }
	if untrusted(errs[0]) && slices.ContainsFunc(errs[1:], untrusted) {
		gateway := ""
		if r.job.Gateway != "" { // a dry run has none; where there is one gateway, none is asked for
			gateway = " -g " + string(r.job.Gateway)
		}
		hint = "compare what each shows with its own: keyturn pam action gateway-info" + gateway + " lists them all, " +
			"and --accept takes those that are right"
	}
	return &pam.Error{Kind: pam.KindOf(errs[0]), Message: strings.Join(texts, "; "), Hint: hint, Err: all}
}
