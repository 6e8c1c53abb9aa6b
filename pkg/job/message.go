package job

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
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

// partialMessage says what is left, item by item up to a few.
func (r *run) partialMessage() string {
	return fmt.Sprintf("the password of %s was changed, and this is left: %s", r.account.Name,
		leftOf(r.steps.all(), func(i pam.Item) bool { return !i.Status.Done() }))
}

// partialHint is what helps against the failures that are left, by their classes up
// to a few, and then the command that tries again.
func (r *run) partialHint() string {
	const shown = 2
	var help []string
	for _, i := range r.steps.all() {
		class := i.Reason
		if i.Error != nil {
			class = i.Error.Class
		}
		// What is no class of the script's is explained by its message alone.
		if i.Status.Done() || len(help) == shown || !slices.Contains(powershell.Classes(), class) {
			continue
		}
		if text := class + ": " + powershell.Explain(class); !slices.Contains(help, text) {
			help = append(help, text)
		}
	}
	resume := "keyturn pam action resume " + string(r.job.ID)
	if len(help) == 0 {
		return resume
	}
	return strings.Join(help, " ") + " Then: " + resume
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
		return e.WithHint("%s", hint)
	}
	switch kind {
	case pam.ErrUnreachable:
		return e.WithHint("check that it is up and that %s answers; --skip-unreachable leaves such machines for later", m.Address())
	case pam.ErrAuthFailed:
		return e.WithHint("check the password of admin %q: keyturn record-update -r %s password=", admin.Title, admin.Record)
	case pam.ErrUntrusted:
		return e.WithHint("%s", trustHint(m, err))
	default:
		return e
	}
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
	default:
		return fmt.Sprintf("compare it with its own, then: keyturn record-update -r %s c.text.serverPin=%s",
			m.UID, server)
	}
}

// joined keeps the first error's kind and hint over a list of failures.
func joined(errs []error) error {
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
		hint = "compare what each shows with its own: keyturn pam action gateway-info -g GATEWAY lists them all, " +
			"and --accept takes those that are right"
	}
	return &pam.Error{Kind: pam.KindOf(errs[0]), Message: strings.Join(texts, "; "), Hint: hint, Err: all}
}
