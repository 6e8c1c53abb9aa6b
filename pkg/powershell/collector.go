package powershell

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

const (
	marker   = "#WSX "
	maxLine  = 1 << 20
	maxLines = 20_000
	maxNoise = 64 << 10
)

// CountLines is the key of Counts under which the script says how many lines it
// wrote before bye: fewer mean that the transport lost some.
const CountLines = "lines"

// WriteLine writes one line of an answer, for those who stand in for a machine.
func WriteLine(w io.Writer, l Line) error {
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode a line: %w", err)
	}
	if _, err := w.Write(append(asciiJSON([]byte(marker), b), '\n')); err != nil {
		return fmt.Errorf("write a line: %w", err)
	}
	return nil
}

// asciiJSON appends encoded JSON with everything outside ASCII as \u escapes:
// the code page of the channel then does not matter.
func asciiJSON(dst, encoded []byte) []byte {
	for len(encoded) > 0 {
		r, n := utf8.DecodeRune(encoded)
		encoded = encoded[n:]
		if r < utf8.RuneSelf {
			dst = append(dst, byte(r)) //nolint:gosec // below 0x80
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			dst = fmt.Appendf(dst, `\u%04x`, u)
		}
	}
	return dst
}

// An Answer is what a machine said, cleaned: no secret that was sent, no control
// characters, only known words where the contract has words.
type Answer struct {
	Hello   Line
	Machine Line
	Account *Line  // nil without a target
	Proofs  []Line // in order
	Items   []Line // in order, of all phases
	Facts   []Line // in order; the shipped script has none
	Bye     Line   // zero when the answer ended early
	Noise   []byte // what else was on standard output, and standard error; cleaned and capped
}

// A FatalError is the script's own refusal. Its cause is what Windows said.
type FatalError struct {
	Class     string
	Got, Want int    // bytes, of the transport_* classes
	Err       *Err   // may be nil
	Stage     string // "bootstrap", "preflight" or "run"
}

// Error says what the script said.
func (e *FatalError) Error() string {
	text := "the script refused: " + e.Class
	if e.Want > 0 {
		text += " (got " + strconv.Itoa(e.Got) + " of " + strconv.Itoa(e.Want) + " bytes)"
	}
	if e.Err != nil && e.Err.Msg != "" {
		text += ": " + e.Err.Msg
	}
	return text
}

// NothingRan reports whether the refusal came before anything could change.
func (e *FatalError) NothingRan() bool { return e.Stage != stageRun }

// Stages of a FatalError.
const (
	stageBootstrap = "bootstrap"
	stagePreflight = "preflight"
	stageRun       = "run"
)

// A Collector is fed the bytes of standard output, in chunks of any size, and
// keeps the lines that belong to one request. Everything else is noise: a target
// cannot replay an older answer, nor add to this one after its end. It is used
// by one goroutine.
type Collector struct {
	nonce   string
	on      func(Line)
	redact  *redactor
	part    []byte // the line that has not ended yet
	skip    bool   // the line that has not ended yet is too long
	lines   int
	answer  Answer
	fatal   *FatalError
	done    bool
	trouble error
}

// NewCollector collects the lines with nonce, rid of secrets. on, when not nil,
// hears each accepted line at once.
func NewCollector(nonce string, secrets []secret.Value, on func(Line)) *Collector {
	return &Collector{nonce: nonce, on: on, redact: newRedactor(secrets)}
}

// Write takes a chunk. It never fails.
func (c *Collector) Write(chunk []byte) (int, error) {
	n := len(chunk)
	for {
		line, rest, found := bytes.Cut(chunk, []byte("\n"))
		c.append(line)
		if !found {
			return n, nil
		}
		c.endLine()
		chunk = rest
	}
}

func (c *Collector) append(b []byte) {
	if c.skip {
		return
	}
	if len(c.part)+len(b) > maxLine {
		c.skip = true
		c.noise(c.part)
		c.part = c.part[:0]
		return
	}
	c.part = append(c.part, b...)
}

func (c *Collector) endLine() {
	if !c.skip {
		c.line(bytes.TrimSuffix(c.part, []byte("\r")))
	}
	c.skip = false
	c.part = c.part[:0]
}

func (c *Collector) line(raw []byte) {
	encoded, marked := bytes.CutPrefix(raw, []byte(marker))
	var l Line
	if c.done || !marked || json.Unmarshal(encoded, &l) != nil {
		c.noise(raw)
		return
	}
	switch {
	case c.early(l):
		c.fatal = &FatalError{Class: l.Class, Got: l.Got, Want: l.Want, Stage: stageBootstrap}
	case l.N != c.nonce || c.nonce == "" || !c.clean(&l):
		c.noise(raw)
	case c.lines >= maxLines:
		c.done = true
		c.trouble = fmt.Errorf("the script's answer has more than %d lines", maxLines)
	default:
		c.take(l)
	}
}

// early reports whether l is what the bootstrap says before it knows the nonce.
// Such a line can only make a call fail.
func (c *Collector) early(l Line) bool {
	if l.T != "fatal" || l.N != "" || c.lines > 0 {
		return false
	}
	switch l.Class {
	case ClassTransportHeader, ClassTransportTruncated, ClassTransportCorrupt, ClassConstrained:
		return true
	}
	return false
}

func (c *Collector) take(l Line) {
	switch l.T {
	case "hello":
		c.answer.Hello = l
	case "machine":
		c.answer.Machine = l
	case "account":
		c.answer.Account = &l
	case "proof":
		c.answer.Proofs = append(c.answer.Proofs, l)
	case "item":
		c.answer.Items = append(c.answer.Items, l)
	case "fact":
		c.answer.Facts = append(c.answer.Facts, l)
	case "fatal":
		c.fatal = &FatalError{Class: l.Class, Got: l.Got, Want: l.Want, Err: l.Err, Stage: stageOf(l)}
	case "bye":
		c.answer.Bye = l
		c.done = true
		if want := l.Counts[CountLines]; want < 1 || want != c.lines { // without a count it vouches for nothing
			c.trouble = fmt.Errorf("the script wrote %d lines, %d arrived", want, c.lines)
		}
	}
	c.lines++
	if c.on != nil {
		c.on(l)
	}
}

// NeedAdmin refuses a session without an administrator's rights, before anything
// is begun that would be refused in the middle.
func (a Answer) NeedAdmin() error {
	if a.Hello.Elevated {
		return nil
	}
	return pam.Errorf(KindOf(ClassNotElevated), "the log-in to %s has no administrator's rights (%s); nothing changed",
		a.Hello.Host, ClassNotElevated).WithHint("%s", Explain(ClassNotElevated))
}

func stageOf(l Line) string {
	switch l.Class {
	case ClassNotElevated, ClassConstrained, ClassWrongBitness, ClassUnknownOp, ClassLockedByOtherRun, ClassInvalidAccount:
		return stagePreflight
	}
	return stageRun
}

// kindWords are the kinds that a line may be about.
var kindWords = []string{
	"", "service", "task", "iis_pool", "iis_vdir", "iis_anon", "account", "process", "com_plus", "dcom", "iis_shared",
	"elsewhere",
}

// clean rids l of what a hostile target could put into it and reports whether
// it is a line of the contract at all.
func (c *Collector) clean(l *Line) bool {
	words := slices.Contains([]string{"hello", "machine", "account", "proof", "item", "fact", "fatal", "bye"}, l.T) &&
		slices.Contains([]string{"", "look", "update", "stop", "start", "restart", "recycle", "repair", "set", "unlock"}, l.Phase) &&
		slices.Contains(kindWords, l.Kind) &&
		slices.Contains([]string{"", "ok", "noop", "skipped", "failed", "timeout", "pending"}, l.Status)
	if !words {
		return false
	}
	texts := []*string{
		&l.Run, &l.Host, &l.PS, &l.OS, &l.Lang, &l.GUID, &l.Domain, &l.User, &l.UserSID, &l.SID, &l.Sam, &l.Name, &l.Scope,
		&l.ID, &l.Display, &l.RunAs, &l.State, &l.StartMode, &l.Started, &l.LogonType, &l.Reason, &l.Value,
	}
	for _, t := range texts {
		*t = c.redact.text(*t)
	}
	c.cleanNames(l.Depends)
	c.cleanNames(l.Children)
	c.cleanNames(l.Warn)
	c.cleanState(l.Before)
	c.cleanState(l.After)
	if l.Match != nil {
		l.Match.By, l.Match.SID = c.redact.text(l.Match.By), c.redact.text(l.Match.SID)
		l.Match.Class = accountClass(l.Match.Class)
	}
	if l.T == "fatal" {
		l.Class = errorClass(l.Class)
	} else {
		l.Class = accountClass(l.Class)
	}
	c.cleanErr(l.Err)
	l.Counts = cleanCounts(l.Counts)
	return true
}

func (c *Collector) cleanNames(names []string) {
	for i := range names {
		names[i] = c.redact.text(names[i])
	}
}

func (c *Collector) cleanState(s *ItemState) {
	if s == nil {
		return
	}
	for _, t := range []*string{&s.RunAs, &s.State, &s.StartMode, &s.Started} {
		*t = c.redact.text(*t)
	}
}

func (c *Collector) cleanErr(e *Err) {
	if e == nil {
		return
	}
	e.Class = errorClass(e.Class)
	for _, t := range []*string{&e.HResult, &e.Type, &e.Msg} {
		*t = c.redact.text(*t)
	}
}

func accountClass(name string) string {
	switch name {
	case "", "user", "builtin", "virtual", "managed":
		return name
	}
	return "unresolved"
}

func errorClass(name string) string {
	if knownClass(name) {
		return name
	}
	return ClassUnknown
}

func cleanCounts(counts map[string]int) map[string]int {
	known := map[string]int{}
	for _, k := range []string{"ok", "noop", "skipped", "failed", "timeout", "pending", CountLines} {
		if n, ok := counts[k]; ok {
			known[k] = n
		}
	}
	return known
}

func (c *Collector) noise(raw []byte) {
	if len(raw) == 0 || len(c.answer.Noise) >= maxNoise {
		return
	}
	c.answer.Noise = append(append(c.answer.Noise, raw[:min(len(raw), maxNoise)]...), '\n')
}

// Finish ends the collection: no more bytes come. An answer with an error is
// partial: what it does not tell is unknown. The error is a *[pam.Error]; that
// of a refusal wraps a [FatalError].
func (c *Collector) Finish() (Answer, error) {
	if len(c.part) > 0 {
		c.noise(c.part) // a line without its end may have been cut anywhere
	}
	a := c.answer
	a.Noise = cleanNoise(c.redact, a.Noise)
	defer c.redact.destroy()
	switch {
	case c.fatal != nil:
		return a, pam.Errorf(KindOf(c.fatal.Class), "%w", c.fatal).WithHint("%s", Explain(c.fatal.Class))
	case c.trouble != nil:
		return a, pam.Errorf(pam.ErrIO, "%w", c.trouble)
	case a.Bye.T == "":
		return a, pam.Errorf(pam.ErrIO, "the script's answer ended without its end marker")
	}
	return a, nil
}

func cleanNoise(r *redactor, noise []byte) []byte {
	var out []byte
	for line := range bytes.Lines(noise[:min(len(noise), maxNoise)]) {
		if t := r.text(string(line)); t != "" {
			out = append(append(out, t...), '\n')
		}
	}
	return out
}
