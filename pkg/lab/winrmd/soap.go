package winrmd

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Names of WS-Management.
const (
	actionCreate  = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Create"
	actionDelete  = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Delete"
	actionFault   = "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault"
	shellSpace    = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
	actionCommand = shellSpace + "/Command"
	actionSend    = shellSpace + "/Send"
	actionReceive = shellSpace + "/Receive"
	actionSignal  = shellSpace + "/Signal"
	resourceCmd   = shellSpace + "/cmd"
	stateSpace    = shellSpace + "/CommandState/"
	signalSpace   = shellSpace + "/signal/"
	anonymous     = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"
)

// phases maps actions to phases; it never changes.
func phaseOf(action string) Phase {
	switch action {
	case actionCreate:
		return PhaseCreate
	case actionCommand:
		return PhaseCommand
	case actionSend:
		return PhaseSend
	case actionReceive:
		return PhaseReceive
	case actionSignal:
		return PhaseSignal
	case actionDelete:
		return PhaseDelete
	default:
		return ""
	}
}

// An envelope is a request, reduced to what a shell needs. Elements are found
// by their local names: clients differ in prefixes.
type envelope struct {
	Action           string     `xml:"Header>Action"`
	MessageID        string     `xml:"Header>MessageID"`
	ResourceURI      string     `xml:"Header>ResourceURI"`
	OperationTimeout string     `xml:"Header>OperationTimeout"`
	MaxEnvelopeSize  string     `xml:"Header>MaxEnvelopeSize"`
	Selectors        []property `xml:"Header>SelectorSet>Selector"`
	Options          []property `xml:"Header>OptionSet>Option"`
	Body             body       `xml:"Body"`
}

type property struct {
	Name  string `xml:",attr"`
	Value string `xml:",chardata"`
}

type body struct {
	Identify    *struct{}    `xml:"Identify"`
	Shell       *shellBody   `xml:"Shell"`
	CommandLine *commandLine `xml:"CommandLine"`
	Send        *struct {
		Streams []inputStream `xml:"Stream"`
	} `xml:"Send"`
	Receive *struct {
		Desired struct {
			CommandID string `xml:"CommandId,attr"`
			Names     string `xml:",chardata"`
		} `xml:"DesiredStream"`
	} `xml:"Receive"`
	Signal *struct {
		CommandID string `xml:"CommandId,attr"`
		Code      string `xml:"Code"`
	} `xml:"Signal"`
}

type shellBody struct {
	InputStreams     string
	OutputStreams    string
	WorkingDirectory string
	IdleTimeOut      string
	Variables        []property `xml:"Environment>Variable"`
}

// settings renders what a client asked of its shell.
func (b *shellBody) settings() string {
	var x strings.Builder
	if b.WorkingDirectory != "" {
		x.WriteString(`<rsp:WorkingDirectory>` + escape(b.WorkingDirectory) + `</rsp:WorkingDirectory>`)
	}
	if len(b.Variables) > 0 {
		x.WriteString(`<rsp:Environment>`)
		for _, v := range b.Variables {
			// Real machines were recorded to leave backslashes out of names.
			name := strings.ReplaceAll(v.Name, `\`, "")
			fmt.Fprintf(&x, `<rsp:Variable Name="%s">%s</rsp:Variable>`, escape(name), escape(v.Value))
		}
		x.WriteString(`</rsp:Environment>`)
	}
	return x.String()
}

type commandLine struct {
	Command   string
	Arguments []string
}

type inputStream struct {
	CommandID string `xml:"CommandId,attr"`
	Name      string `xml:",attr"`
	End       string `xml:",attr"`
	Data      string `xml:",chardata"`
}

// parseEnvelope reads a request.
func parseEnvelope(b []byte) (*envelope, error) {
	var e struct {
		XMLName xml.Name `xml:"http://www.w3.org/2003/05/soap-envelope Envelope"`
		envelope
	}
	d := xml.NewDecoder(strings.NewReader(string(b)))
	d.CharsetReader = func(charset string, input io.Reader) (io.Reader, error) {
		if strings.EqualFold(charset, "utf-8") {
			return input, nil
		}
		return nil, fmt.Errorf("charset %q is not served here", charset)
	}
	if err := d.Decode(&e); err != nil {
		return nil, fmt.Errorf("read envelope: %w", err)
	}
	return &e.envelope, nil
}

func (e *envelope) shellID() string {
	for _, s := range e.Selectors {
		if s.Name == "ShellId" {
			return strings.TrimSpace(s.Value)
		}
	}
	return ""
}

func (e *envelope) option(name string) bool {
	for _, o := range e.Options {
		if o.Name == name {
			return strings.EqualFold(strings.TrimSpace(o.Value), "true") || strings.TrimSpace(o.Value) == "1"
		}
	}
	return false
}

// Bounds of what a client may ask for.
const (
	defaultOperation = time.Minute
	maxOperation     = 10 * time.Minute
	minAnswer        = 8 << 10
)

// timeout is how long the request may wait.
func (e *envelope) timeout() time.Duration {
	d, ok := parseDuration(e.OperationTimeout)
	if !ok {
		return defaultOperation
	}
	return min(d, maxOperation)
}

// room is how many bytes of output fit into the answer, before base64.
func (e *envelope) room() int {
	n, err := strconv.Atoi(strings.TrimSpace(e.MaxEnvelopeSize))
	if err != nil || n > MaxEnvelope {
		n = MaxEnvelope
	}
	return max(n-4<<10, minAnswer) / 4 * 3
}

var duration = regexp.MustCompile(`^P(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9}(?:\.\d{1,9})?)S)?)?$`)

// parseDuration reads an xs:duration without years and months.
func parseDuration(s string) (time.Duration, bool) {
	m := duration.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, false
	}
	var total float64
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.ParseFloat(m[i+1], 64)
		if err != nil {
			return 0, false
		}
		total += n * unit.Seconds()
	}
	const limit = 365 * 24 * 3600
	return time.Duration(min(total, limit) * float64(time.Second)), true
}

// decodeInput decodes a chunk of standard input.
func decodeInput(s string) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), ""))
}

func escape(s string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		return ""
	}
	return b.String()
}

// A reply is an answer before it is rendered.
type reply struct {
	action string
	body   string
}

// Namespaces of an answer's envelope, as real machines declare them by kind.
const (
	spaceCommon = `xml:lang="en-US" xmlns:s="http://www.w3.org/2003/05/soap-envelope" ` +
		`xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" `
	spaceTransfer = `xmlns:x="http://schemas.xmlsoap.org/ws/2004/09/transfer" `
	spaceFault    = `xmlns:e="http://schemas.xmlsoap.org/ws/2004/08/eventing" ` +
		`xmlns:n="http://schemas.xmlsoap.org/ws/2004/09/enumeration" `
	spaceManage = `xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd" `
	spaceShell  = `xmlns:rsp="` + shellSpace + `" `
	spacePlugin = `xmlns:p="http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd"`
)

// render writes the whole envelope of a reply.
func (r reply) render(id, activity, relatesTo string) string {
	spaces := spaceCommon + spaceTransfer + spaceManage + spaceShell + spacePlugin
	switch r.action {
	case actionFault:
		spaces = spaceCommon + spaceTransfer + spaceFault + spaceManage + spacePlugin
	case actionDelete + "Response":
		spaces = spaceCommon + spaceManage + spacePlugin
	}
	return `<s:Envelope ` + spaces + `><s:Header><a:Action>` + r.action + `</a:Action>` +
		`<a:MessageID>uuid:` + id + `</a:MessageID><p:ActivityId>` + activity + `</p:ActivityId>` +
		`<a:To>` + anonymous + `</a:To><a:RelatesTo>` + escape(relatesTo) + `</a:RelatesTo></s:Header>` +
		`<s:Body>` + r.body + `</s:Body></s:Envelope>`
}

const identifyResponse = `<s:Envelope xml:lang="en-US" xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Header/><s:Body>` +
	`<wsmid:IdentifyResponse xmlns:wsmid="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd">` +
	`<wsmid:ProtocolVersion>http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd</wsmid:ProtocolVersion>` +
	`<wsmid:ProductVendor>Keyturn practice machine</wsmid:ProductVendor>` +
	`<wsmid:ProductVersion>OS: 10.0.17763 SP: 0.0 Stack: 3.0</wsmid:ProductVersion>` +
	`</wsmid:IdentifyResponse></s:Body></s:Envelope>`
