package model

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

const taskNamespace = "http://schemas.microsoft.com/windows/2004/02/mit/task"

// A Principal is whom a task runs as.
type Principal struct {
	UserID    string
	GroupID   string
	LogonType string // never empty: InteractiveToken is the default
	// Warn says what registering the task again may bring about, in the words of
	// the script contract.
	Warn []string
}

// Stores reports whether a task of this principal stores a password.
func (p Principal) Stores() bool {
	return p.LogonType == "Password" || p.LogonType == "InteractiveTokenOrPassword"
}

type taskDocument struct {
	XMLName    xml.Name `xml:"http://schemas.microsoft.com/windows/2004/02/mit/task Task"`
	Principals []struct {
		ID        string `xml:"id,attr"`
		UserID    string `xml:"UserId"`
		GroupID   string `xml:"GroupId"`
		LogonType string `xml:"LogonType"`
	} `xml:"Principals>Principal"`
	Actions struct {
		Context string `xml:"Context,attr"`
	} `xml:"Actions"`
	Settings struct {
		DeleteExpired *struct{} `xml:"DeleteExpiredTaskAfter"`
		WhenAvailable string    `xml:"StartWhenAvailable"`
	} `xml:"Settings"`
}

func (d taskDocument) warnings() []string {
	var words []string
	if d.Settings.DeleteExpired != nil {
		words = append(words, "deletes_when_expired")
	}
	if strings.TrimSpace(d.Settings.WhenAvailable) == "true" {
		words = append(words, "runs_when_missed")
	}
	return words
}

// TaskPrincipal reads whom a task runs as from its XML: the principal that the
// actions name, or else the first.
func TaskPrincipal(text string) (Principal, error) {
	var d taskDocument
	if err := taskDecoder(text).Decode(&d); err != nil {
		return Principal{}, fmt.Errorf("read task XML: %w", err)
	}
	chosen := 0
	for i, p := range d.Principals {
		if d.Actions.Context != "" && p.ID == d.Actions.Context {
			chosen = i
			break
		}
	}
	if len(d.Principals) == 0 {
		return Principal{LogonType: "InteractiveToken"}, nil
	}
	p := d.Principals[chosen]
	r := Principal{
		UserID: strings.TrimSpace(p.UserID), GroupID: strings.TrimSpace(p.GroupID), LogonType: strings.TrimSpace(p.LogonType),
		Warn: d.warnings(),
	}
	switch {
	case r.LogonType != "":
	case r.GroupID != "" && r.UserID == "":
		r.LogonType = "Group"
	default:
		r.LogonType = "InteractiveToken"
	}
	return r, nil
}

// taskDecoder reads task XML, which says UTF-16 of itself because COM hands it
// over as a wide string.
func taskDecoder(text string) *xml.Decoder {
	d := xml.NewDecoder(strings.NewReader(text))
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	return d
}

// TaskXML makes the XML of a task as the Task Scheduler would show it.
func TaskXML(t TaskSpec) string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-16"?>` + "\r\n")
	fmt.Fprintf(&b, "<Task version=\"1.2\" xmlns=\"%s\">\r\n", taskNamespace)
	fmt.Fprintf(&b, "  <RegistrationInfo>\r\n    <Date>2024-03-01T09:00:00</Date>\r\n    <URI>%s</URI>\r\n  </RegistrationInfo>\r\n",
		escapeXML(t.Path))
	b.WriteString("  <Triggers>\r\n    <CalendarTrigger>\r\n      <StartBoundary>2024-03-01T02:00:00</StartBoundary>\r\n" +
		"      <ScheduleByDay>\r\n        <DaysInterval>1</DaysInterval>\r\n      </ScheduleByDay>\r\n    </CalendarTrigger>\r\n")
	if t.Registration {
		b.WriteString("    <RegistrationTrigger>\r\n      <Enabled>true</Enabled>\r\n    </RegistrationTrigger>\r\n")
	}
	b.WriteString("  </Triggers>\r\n  <Principals>\r\n    <Principal id=\"Author\">\r\n")
	if t.LogonType == "Group" {
		fmt.Fprintf(&b, "      <GroupId>%s</GroupId>\r\n", escapeXML(t.UserID))
	} else {
		fmt.Fprintf(&b, "      <UserId>%s</UserId>\r\n", escapeXML(t.UserID))
		if t.LogonType != "ServiceAccount" {
			fmt.Fprintf(&b, "      <LogonType>%s</LogonType>\r\n", t.LogonType)
		}
	}
	b.WriteString("      <RunLevel>LeastPrivilege</RunLevel>\r\n    </Principal>\r\n  </Principals>\r\n  <Settings>\r\n")
	fmt.Fprintf(&b, "    <Enabled>%t</Enabled>\r\n    <Hidden>%t</Hidden>\r\n", !t.Disabled, t.Hidden)
	b.WriteString("    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>\r\n" +
		"    <ExecutionTimeLimit>PT1H</ExecutionTimeLimit>\r\n  </Settings>\r\n  <Actions Context=\"Author\">\r\n" +
		"    <Exec>\r\n      <Command>C:\\Program Files\\Orders\\export.exe</Command>\r\n    </Exec>\r\n  </Actions>\r\n</Task>")
	return b.String()
}

func escapeXML(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
	return b.String()
}

// logonWords are the XML words of TASK_LOGON_TYPE.
var logonWords = map[int]string{
	TaskLogonPassword: "Password", TaskLogonS4U: "S4U", TaskLogonInteractive: "InteractiveToken",
	TaskLogonInteractiveOrPassword: "InteractiveTokenOrPassword",
}

// withPrincipal is text with user and logon type put into its principal; a user
// that is the same already keeps its spelling.
func withPrincipal(text string, logonType int, user string, same func(old string) bool) string {
	p, err := TaskPrincipal(text)
	if err != nil {
		return text
	}
	if !same(p.UserID) {
		text = replaceElement(text, "UserId", p.UserID, user)
	}
	if word := logonWords[logonType]; word != "" && word != p.LogonType {
		text = replaceElement(text, "LogonType", p.LogonType, word)
	}
	return text
}

// replaceElement replaces the text of the first element of that name and text
// inside Principals.
func replaceElement(text, element, old, next string) string {
	d := taskDecoder(text)
	inside, wanted := false, false
	start := int64(0)
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) || err != nil {
			return text
		}
		switch t := tok.(type) {
		case xml.StartElement:
			inside = inside || t.Name.Local == "Principals"
			wanted = inside && t.Name.Local == element
			start = d.InputOffset()
		case xml.CharData:
			if wanted && strings.TrimSpace(string(t)) == old {
				return text[:start] + escapeXML(next) + text[d.InputOffset():]
			}
		case xml.EndElement:
			wanted = false
			inside = inside && t.Name.Local != "Principals"
		}
	}
}
