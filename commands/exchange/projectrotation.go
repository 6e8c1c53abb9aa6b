package exchange

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"keyturn/pkg/pam"
)

// readRotation reads rotation settings, or the name of a profile that has them.
func (r *projectReader) readRotation(raw json.RawMessage) (*ProjectRotation, error) {
	if name, err := scalar(raw); err == nil {
		if name == "" {
			return nil, nil //nolint:nilnil // null is no settings
		}
		profile, ok := r.profiles[name]
		if !ok {
			return nil, fmt.Errorf("there is no rotation profile %q", name)
		}
		raw = profile
	}
	members, err := object(raw)
	if err != nil {
		return nil, err
	}
	out := &ProjectRotation{Enabled: "default"}
	for _, m := range members {
		if err := r.rotationMember(m, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (r *projectReader) rotationMember(m pair, out *ProjectRotation) (err error) {
	switch m.name {
	case "rotation":
		err = general(m)
	case "resource":
		out.Resource, err = named(m)
	case "enabled":
		out.Enabled, err = onOff(m)
	case "password_complexity":
		out.Complexity, err = named(m)
	case "policy":
		if err := json.Unmarshal(m.value, &out.Policy); err != nil {
			return errors.New(`field "policy": is no object of texts`)
		}
	case "schedule":
		err = r.readSchedule(m.value)
	default:
		r.leave(m, "%q of rotation_settings is not taken over", m.name)
	}
	return err
}

// general refuses a kind of rotation that is not done here.
func general(m pair) error {
	kind, err := named(m)
	if err == nil && kind != "" && !strings.EqualFold(kind, "general") {
		err = fmt.Errorf("rotation %q is not supported; general is", kind)
	}
	return err
}

func (r *projectReader) readSchedule(raw json.RawMessage) error {
	var s struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return errors.New(`field "schedule": is no object with a type`)
	}
	if s.Type != "" && !strings.EqualFold(s.Type, "on-demand") {
		r.file.note("schedules are not taken over: rotations are on demand")
	}
	return nil
}

func readServices(raw json.RawMessage) ([]ProjectService, error) {
	var list []struct {
		User  string   `json:"user"`
		Types []string `json:"types"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, errors.New("is no list of objects with user and types")
	}
	var out []ProjectService
	for _, s := range list {
		one := ProjectService{User: s.User}
		if s.User == "" {
			return nil, errors.New("a service has no user")
		}
		for _, word := range s.Types {
			kind, err := pam.ParseMappingKind(word)
			if err != nil {
				return nil, err
			}
			one.Kinds |= kind
		}
		if len(s.Types) == 0 {
			one.Kinds = pam.MapAll // as "service add" without -t
		}
		out = append(out, one)
	}
	return out, nil
}
