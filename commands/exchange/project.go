package exchange

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"keyturn/pkg/pam"
)

// A Project is a project file of Commander's "pam project import": machines and
// directories, users, how their passwords are rotated, and what runs as them.
// Records name one another by UID or title, which nothing here looks up.
type Project struct {
	Name          string
	Configuration ProjectConfiguration
	Records       []ProjectRecord
	Notes         []string // what could not be taken over
}

// A ProjectConfiguration is the project's PAM configuration.
type ProjectConfiguration struct {
	Title, Environment, Gateway string
	Admin                       string // who logs in where a resource names nobody
	Off                         bool   // rotation is off for users that do not say otherwise
}

// A ProjectRecord is one record with what belongs to it. Its folder is the path
// below the project's own folder for it.
type ProjectRecord struct {
	Entry
	Resource bool // a machine or directory; else somebody's
	Parent   int  // of the resource whose list of users it is in; -1 for none
	Admin    string
	Disabled bool
	Rotation *ProjectRotation // nil for none
	Services []ProjectService
}

// A ProjectRotation says how a user's password is rotated.
type ProjectRotation struct {
	Resource   string // "" is the resource that the user belongs to
	Enabled    string // "on", "off" or "default"
	Complexity string
	Policy     pam.Policy
}

// A ProjectService says that what runs on a machine follows a user's password.
// Commander has no word for it.
type ProjectService struct {
	User  string
	Kinds pam.MappingKinds
}

// File is the project's records as a file of records.
func (p Project) File() File {
	f := File{Notes: p.Notes}
	for _, r := range p.Records {
		f.Entries = append(f.Entries, r.Entry)
	}
	return f
}

// Fault is an error about a field of a record of the project.
func (r ProjectRecord) Fault(field, format string, args ...any) error {
	return fault(r.Entry, field, format, args...)
}

// The members of a record that are fields: those every type can have, as in
// Commander's own documentation of the file.
func projectFields() map[string]pam.Field {
	return map[string]pam.Field{
		"login": {Type: "login"}, "password": {Type: "password"}, "url": {Type: "url"}, "otp": {Type: codeType},
		"ssl_verification": {Type: "checkbox", Label: "sslVerification"}, "use_ssl": {Type: "checkbox", Label: "useSSL"},
		"managed":          {Type: "checkbox", Label: "managed"},
		"operating_system": {Type: "text", Label: "operatingSystem"},
		"instance_name":    {Type: "text", Label: "instanceName"}, "instance_id": {Type: "text", Label: "instanceId"},
		"provider_group": {Type: "text", Label: "providerGroup"}, "provider_region": {Type: "text", Label: "providerRegion"},
		"domain_name": {Type: "text", Label: "domainName"}, "directory_id": {Type: "text", Label: "directoryId"},
		"directory_type": {Type: "directoryType"}, "user_match": {Type: "text", Label: "userMatch"},
		"alternative_ips": {Type: "multiline", Label: "alternativeIPs"},
		"private_pem_key": {Type: "secret", Label: "privatePEMKey"}, "distinguished_name": {Type: "text", Label: "distinguishedName"},
		"connect_database": {Type: "text", Label: "connectDatabase"},
	}
}

// A projectReader is one project on its way in.
type projectReader struct {
	Project
	file     File // for its notes
	profiles map[string]json.RawMessage
}

// ReadProject reads a project file. What it says of Commander's cloud, of sessions
// and of schedules is noted and left out; a member that nobody knows is kept as a
// field of its record. The error names the entry and field.
func ReadProject(data []byte) (Project, error) {
	r := projectReader{}
	data, err := checkEncoding(data)
	if err == nil {
		err = r.read(data)
	}
	r.Notes = r.file.Notes
	if err != nil {
		r.File().Destroy()
		return Project{}, atLine(data, err)
	}
	return r.Project, nil
}

func (r *projectReader) read(data []byte) error {
	members, err := object(data)
	if err != nil {
		return err
	}
	for _, m := range members {
		var err error
		switch m.name {
		case "project":
			r.Name, err = named(m)
		case "pam_configuration":
			err = within(m.name, r.readConfiguration(m.value))
		case "pam_data":
			err = r.readData(m.value)
		case "tool", "tool_version":
		default:
			r.leave(m, "%q is not taken over", m.name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leave notes a member that is left out, unless it says nothing.
func (r *projectReader) leave(m pair, format string, args ...any) {
	switch strings.TrimSpace(string(m.value)) {
	case "{}", "[]", "null", `""`:
		return
	}
	r.file.note(format, args...)
}

func within(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

// named reads a member that is a text.
func named(m pair) (string, error) {
	text, err := scalar(m.value)
	if err != nil {
		return "", fmt.Errorf("field %q: %w", m.name, noText(err))
	}
	return text, nil
}

func (r *projectReader) readConfiguration(raw json.RawMessage) error {
	members, err := object(raw)
	if err != nil {
		return err
	}
	c := &r.Configuration
	texts := map[string]*string{
		"title": &c.Title, "environment": &c.Environment, "gateway_name": &c.Gateway, "dom_administrative_credential": &c.Admin,
	}
	for _, m := range members {
		switch into := texts[m.name]; {
		case into != nil:
			if *into, err = named(m); err != nil {
				return err
			}
		case m.name == "rotation":
			word, err := onOff(m)
			if err != nil {
				return err
			}
			c.Off = word == "off"
		default:
			r.leave(m, "%q of the configuration is not taken over", m.name)
		}
	}
	return nil
}

// onOff reads on, off or default; Commander takes truth values too.
func onOff(m pair) (string, error) {
	text, err := named(m)
	if err != nil {
		return "", err
	}
	switch word := strings.ToLower(text); word {
	case "on", "off", "default":
		return word, nil
	case "true":
		return "on", nil
	case "false":
		return "off", nil
	case "":
		return "default", nil
	}
	return "", fmt.Errorf("field %q: %q is not on, off or default", m.name, text)
}

func (r *projectReader) readData(raw json.RawMessage) error {
	members, err := object(raw)
	if err != nil {
		return within("pam_data", err)
	}
	for _, m := range members { // users name them
		if m.name == "rotation_profiles" {
			if r.profiles, err = profilesOf(m.value); err != nil {
				return err
			}
		}
	}
	for _, m := range members {
		var err error
		switch m.name {
		case "rotation_profiles":
		case "resources":
			err = r.readList(m, "resource ", true, -1)
		case "users":
			err = r.readList(m, "user ", false, -1)
		default:
			r.leave(m, "%q of pam_data is not taken over", m.name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func profilesOf(raw json.RawMessage) (map[string]json.RawMessage, error) {
	profiles := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &profiles); err != nil {
		return nil, errors.New("rotation_profiles: is not an object")
	}
	return profiles, nil
}

// readList reads a list of records. Resources are read before the users in them.
func (r *projectReader) readList(m pair, place string, resource bool, parent int) error {
	var list []json.RawMessage
	if err := json.Unmarshal(m.value, &list); err != nil {
		return fmt.Errorf("%q is not a list", m.name)
	}
	for i, raw := range list {
		where := place + strconv.Itoa(i+1)
		if parent >= 0 {
			where = r.Records[parent].Place + ", " + where
		}
		one := ProjectRecord{Entry: Entry{Place: where}, Resource: resource, Parent: parent}
		users, err := r.readRecord(raw, &one)
		r.Records = append(r.Records, one) // its secrets, to be destroyed
		if err != nil {
			return err
		}
		if users == nil {
			continue
		}
		if err := r.readList(*users, "user ", false, len(r.Records)-1); err != nil {
			return err
		}
	}
	return nil
}

// readRecord reads one record and returns the list of users in it.
func (r *projectReader) readRecord(raw json.RawMessage, one *ProjectRecord) (users *pair, err error) {
	members, err := object(raw)
	if err != nil {
		return nil, one.Fault("", "%w", err)
	}
	for _, m := range members { // errors name the title
		if m.name == "title" {
			one.Record.Title, _ = scalar(m.value) // if it is none, the loop below says so
		}
	}
	one.Record.Type = pam.TypeUser
	if one.Resource {
		one.Record.Type = ""
	}
	host := map[string]string{}
	for _, m := range members {
		if m.name == "users" && one.Resource {
			users = &m
			continue
		}
		if err := r.readMember(m, one, host); err != nil {
			return nil, one.Fault(m.name, "%w", err)
		}
	}
	if one.Record.Type == "" {
		return nil, one.Fault("type", "is missing")
	}
	if len(host) > 0 {
		f := pam.Field{Type: "pamHostname", Parts: host}
		one.Record.Fields = slices.Insert(one.Record.Fields, 0, f)
	}
	return users, nil
}

func (r *projectReader) readMember(m pair, one *ProjectRecord, host map[string]string) (err error) {
	switch m.name {
	case "title", "type", "uid", "notes", "host", "port", "folder_path":
		text, err := scalar(m.value)
		if err != nil {
			return noText(err)
		}
		readPlain(m.name, text, one, host)
	case "disabled":
		if err := json.Unmarshal(m.value, &one.Disabled); err != nil {
			return errors.New("is neither true nor false")
		}
	case "pam_settings":
		one.Admin, err = r.readSettings(m.value)
	case "rotation_settings":
		one.Rotation, err = r.readRotation(m.value)
	case "services":
		one.Services, err = readServices(m.value)
	case "custom_fields":
		err = readCustom(m.value, &one.Entry)
	default:
		err = r.readField(m, one)
	}
	return err
}

func readPlain(name, text string, one *ProjectRecord, host map[string]string) {
	switch name {
	case "type":
		one.Record.Type = pam.RecordType(text)
	case "uid":
		one.Record.UID = pam.UID(text)
	case "notes":
		one.Record.Notes = text
	case "folder_path":
		one.Folder = pam.SplitPath(text)
	case "host", "port":
		if part := map[string]string{"host": "hostName", "port": "port"}[name]; text != "" {
			host[part] = text
		}
	}
}

// readField reads a member that is a field; one that nobody knows is a text.
func (r *projectReader) readField(m pair, one *ProjectRecord) error {
	f, known := projectFields()[m.name]
	text, err := fieldText(m)
	switch {
	case err != nil && known:
		return noText(err)
	case err != nil:
		r.leave(m, "%q of records is not taken over", m.name)
		return nil //nolint:nilerr // it is noted
	case text == "":
		return nil
	case !known:
		r.file.note("%q of records is kept as a text field", m.name)
		f = pam.Field{Type: "text", Label: m.name}
	}
	setText(&f, text)
	one.Record.Fields = append(one.Record.Fields, f)
	return nil
}

// fieldText reads a text; addresses are a list, which becomes one with a line for
// each.
func fieldText(m pair) (string, error) {
	var list []string
	if m.name == "alternative_ips" && json.Unmarshal(m.value, &list) == nil {
		return strings.Join(list, "\n"), nil
	}
	return scalar(m.value)
}

// readSettings reads the administrator of a resource; the rest is about sessions.
func (r *projectReader) readSettings(raw json.RawMessage) (admin string, err error) {
	sections, err := object(raw)
	if err != nil {
		return "", err
	}
	for _, s := range sections {
		if s.name == "options" {
			continue
		}
		members, err := object(s.value)
		if err != nil {
			return "", within(s.name, err)
		}
		for _, m := range members {
			if m.name != "administrative_credentials" {
				r.leave(m, "%q of pam_settings is not taken over", m.name)
				continue
			}
			if admin, err = named(m); err != nil {
				return "", err
			}
		}
	}
	return admin, nil
}
