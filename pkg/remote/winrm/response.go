package winrm

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"keyturn/pkg/remote"
)

// Limits of one answer. A real one has some 15 levels and, of streams, a few
// hundred elements.
const (
	maxAnswer     = 2 << 20 // bytes of body
	maxDepth      = 64
	maxTokens     = 200_000
	maxAttributes = 64 // of one element
	maxValue      = 4096
)

const (
	nsSOAP  = "http://www.w3.org/2003/05/soap-envelope"
	nsAddr  = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
	nsWSMan = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
	nsFault = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
	states  = nsShell + "/CommandState/"
)

// A stream is a piece of what a command wrote.
type stream struct {
	name, command string
	data          []byte
}

// An answer is what one envelope says, decoded strictly.
type answer struct {
	action   string
	shell    string
	command  string
	streams  []stream
	done     bool
	exitCode int
	fault    *Fault

	state        string
	stateCommand string
	exit         *string
	isFault      bool
	subcode      string
	code         string
	reason       string
}

var errAnswer = errors.New("the machine's answer is not understood")

// parseAnswer decodes one envelope of a machine. It never recurses, and gives
// up at the limits above before they cost anything.
func parseAnswer(b []byte) (*answer, error) {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if len(b) > maxAnswer {
		return nil, fmt.Errorf("%w: it has more than %d bytes", errAnswer, maxAnswer)
	}
	if manyAttributes(b) {
		return nil, fmt.Errorf("%w: an element has too many attributes", errAnswer)
	}
	p := parser{answer: &answer{}}
	dec := xml.NewDecoder(bytes.NewReader(b))
	for range maxTokens {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return p.answer, p.finish()
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s", errAnswer, remote.Clean(err.Error()))
		}
		if err := p.token(tok); err != nil {
			return nil, fmt.Errorf("%w: %w", errAnswer, err)
		}
	}
	return nil, fmt.Errorf("%w: it has more than %d parts", errAnswer, maxTokens)
}

// manyAttributes looks for a tag that would make the decoder build a long list.
// It counts the equals signs between angle brackets, and so never less than
// there are attributes.
func manyAttributes(b []byte) bool {
	n, inside := 0, false
	for _, c := range b {
		switch {
		case c == '<':
			n, inside = 0, true
		case c == '>':
			inside = false
		case c == '=' && inside:
			if n++; n > 4*maxAttributes {
				return true
			}
		}
	}
	return false
}

// A parser walks the tokens of one envelope. path holds the open elements, text
// the characters of the innermost one.
type parser struct {
	*answer
	path []xml.StartElement
	text []byte
	seen bool
}

func (p *parser) token(tok xml.Token) error {
	switch t := tok.(type) {
	case xml.StartElement:
		return p.open(t)
	case xml.EndElement:
		err := p.close(p.path[len(p.path)-1])
		p.path, p.text = p.path[:len(p.path)-1], nil
		return err
	case xml.CharData:
		if len(p.path) > 0 {
			p.text = append(p.text, t...)
		}
	case xml.Directive:
		return errors.New("it declares a document type")
	}
	return nil
}

func (p *parser) open(t xml.StartElement) error {
	switch {
	case len(p.path) == 0 && p.seen:
		return errors.New("it has two envelopes")
	case len(p.path) == 0 && t.Name != (xml.Name{Space: nsSOAP, Local: "Envelope"}):
		return errors.New("it is no envelope")
	case len(p.path) >= maxDepth:
		return errors.New("it is nested too deeply")
	case len(t.Attr) > maxAttributes:
		return errors.New("an element has too many attributes")
	}
	p.seen = true
	p.path, p.text = append(p.path, t.Copy()), nil
	return nil
}

// inside reports whether the element being closed lies in SOAP's element local.
func (p *parser) inside(local string) bool {
	for _, e := range p.path[:len(p.path)-1] {
		if e.Name.Space == nsSOAP && e.Name.Local == local {
			return true
		}
	}
	return false
}

// close takes what an element said, now that all of it was read.
func (p *parser) close(e xml.StartElement) error {
	switch {
	case e.Name.Space == nsShell && p.inside("Body"):
		return p.shellElement(e)
	case e.Name.Space == nsSOAP || e.Name.Space == nsFault:
		p.faultElement(e)
		return nil
	case e.Name == (xml.Name{Space: nsAddr, Local: "Action"}) && p.inside("Header"):
		return p.set(&p.action, p.text)
	case e.Name == (xml.Name{Space: nsWSMan, Local: "Selector"}) && attr(e, "Name") == "ShellId":
		return p.set(&p.shell, p.text)
	}
	return nil
}

// shellElement takes an element of the shell's own vocabulary.
func (p *parser) shellElement(e xml.StartElement) error {
	switch e.Name.Local {
	case "ShellId":
		return p.set(&p.shell, p.text)
	case "CommandId":
		return p.set(&p.command, p.text)
	case "Stream":
		return p.stream(e)
	case "ExitCode":
		if p.exit != nil {
			return errors.New("it has two exit codes")
		}
		code := strings.TrimSpace(string(p.text[:min(len(p.text), maxValue)]))
		p.exit = &code
	case "CommandState":
		if p.state != "" {
			return errors.New("it has two command states")
		}
		p.state, p.stateCommand = attr(e, "State"), attr(e, "CommandId")
	}
	return nil
}

// stream takes output. Base64 that does not decode is an error: a cut piece
// must not pass for a short one.
func (p *parser) stream(e xml.StartElement) error {
	data, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(string(p.text)))
	if err != nil {
		return errors.New("its output is not base64")
	}
	p.streams = append(p.streams, stream{name: attr(e, "Name"), command: attr(e, "CommandId"), data: data})
	return nil
}

func (p *parser) faultElement(e xml.StartElement) {
	if e.Name.Space == nsFault && e.Name.Local == "WSManFault" {
		p.code = remote.Clean(attr(e, "Code"))
	}
	if e.Name.Space != nsSOAP {
		return
	}
	switch e.Name.Local {
	case "Fault":
		p.isFault = p.isFault || p.inside("Body")
	case "Value":
		if p.inside("Subcode") {
			p.subcode = remote.Clean(string(p.text))
		}
	case "Text":
		p.reason = remote.Clean(string(p.text))
	}
}

// set stores a value that an envelope may name twice, but not differently.
func (p *parser) set(to *string, text []byte) error {
	if len(text) > maxValue {
		return errors.New("an identifier is too long")
	}
	v := strings.TrimSpace(string(text))
	if *to != "" && *to != v {
		return errors.New("it contradicts itself")
	}
	*to = v
	return nil
}

// finish draws the conclusions when the envelope was read to its end.
func (p *parser) finish() error {
	if !p.seen {
		return fmt.Errorf("%w: it is empty", errAnswer)
	}
	if p.isFault {
		p.fault = &Fault{Subcode: p.subcode, Code: p.code, Reason: p.reason}
	}
	switch p.state {
	case "", states + "Running", states + "Pending":
		return nil
	case states + "Done":
		p.done = true
	default:
		return fmt.Errorf("%w: the command is in no known state", errAnswer)
	}
	if p.exit == nil {
		return fmt.Errorf("%w: the command ended without an exit code", errAnswer)
	}
	// Windows shows the same code signed or unsigned, in 32 bits.
	code, err := strconv.ParseInt(*p.exit, 10, 64)
	if err != nil || code < -1<<31 || code >= 1<<32 {
		return fmt.Errorf("%w: the command's exit code is no number", errAnswer)
	}
	p.exitCode = int(code)
	return nil
}

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// belongs reports whether what an answer says of a command is said of this one.
func belongs(named, command string) bool {
	return named == "" || strings.EqualFold(named, command)
}
