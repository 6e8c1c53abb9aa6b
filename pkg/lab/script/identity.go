package script

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/powershell"
)

// A target is the account the request is about, as this machine knows it.
type target struct {
	powershell.Account
	sids  []string
	sam   string
	name  string // LSA's spelling
	class string
	scope string
}

type resolved struct{ sid, class string }

// scope is where an account with a password lives; "" when that is not known.
func scope(sid, name string, info model.Info) string {
	domain, _, _ := strings.Cut(name, `\`)
	switch {
	case strings.HasPrefix(sid, "S-1-12-1-"):
		return "entra"
	case name == "":
		return ""
	case strings.EqualFold(domain, info.Name) && !info.DC:
		return "local"
	}
	return "domain"
}

// owner says whose an item is, in a look at everyone: a hit is everyone whose
// password is, or may be, somebody's to change.
func (r *run) owner(ctx context.Context, found resolved) (*powershell.Match, error) {
	m := &powershell.Match{By: "none", Class: found.class, SID: found.sid}
	if found.sid != "" {
		name, err := r.sidName(ctx, found.sid)
		if err != nil {
			return nil, err
		}
		m.By, m.Name, m.Scope = "sid", name, scope(found.sid, name, r.info)
		if name == "" && found.class == "user" {
			m.Class = "unresolved"
		}
	}
	m.Hit = slices.Contains([]string{"user", "managed", "unresolved"}, m.Class)
	return m, nil
}

var (
	sidPattern     = regexp.MustCompile(`^[Ss]-1-\d+(-\d+)+$`)
	builtinPattern = regexp.MustCompile(`^S-1-5-(17|18|19|20)$|^S-1-5-32-`)
	virtualPattern = regexp.MustCompile(`^S-1-5-(80|82|83|90|96)-`)
)

func sidClass(sid, name string) string {
	switch {
	case builtinPattern.MatchString(sid):
		return "builtin"
	case virtualPattern.MatchString(sid):
		return "virtual"
	case strings.HasSuffix(name, "$"):
		return "managed"
	}
	return "user"
}

// sidName is DOMAIN\sam of a SID, or "" when this machine knows no such account.
func (r *run) sidName(ctx context.Context, sid string) (string, error) {
	v, err := ask(ctx, func() (model.AccountView, error) { return r.m.Account(sid) })
	if dead(err) {
		return "", err
	}
	if err != nil {
		return "", nil //nolint:nilerr // not knowing is an answer
	}
	return v.Domain + `\` + v.Sam, nil
}

// resolve says who a run-as string is; every spelling is asked for once.
func (r *run) resolve(ctx context.Context, name string) (resolved, error) {
	key := strings.ToUpper(strings.TrimSpace(name))
	if known, ok := r.names[key]; ok {
		return known, nil
	}
	n := strings.TrimSpace(name)
	found := resolved{class: "unresolved"}
	shown := n
	var err error
	switch {
	case n == "", strings.EqualFold(n, "LocalSystem"):
		found.sid = "S-1-5-18"
	case sidPattern.MatchString(n):
		found.sid = strings.ToUpper(n)
		shown, err = r.sidName(ctx, found.sid)
	default:
		found.sid, err = r.translate(ctx, n)
	}
	if err != nil {
		return resolved{}, err
	}
	if found.sid != "" {
		found.class = sidClass(found.sid, shown)
	} else if strings.HasSuffix(n, "$") {
		found.class = "managed"
	}
	r.names[key] = found
	return found, nil
}

func (r *run) translate(ctx context.Context, name string) (string, error) {
	if rest, ok := strings.CutPrefix(name, `.\`); ok {
		name = r.info.Name + `\` + rest
		if r.info.DC && r.info.Domain != "" {
			name = r.info.Domain + `\` + rest
		}
	}
	n, err := ask(ctx, func() (model.Named, error) { return r.m.Translate(name) })
	if dead(err) {
		return "", err
	}
	return n.SID, nil // "" when nobody has that name
}

func samOf(name string) string {
	if _, sam, ok := strings.Cut(name, `\`); ok {
		return sam
	}
	if i := strings.LastIndex(name, "@"); i >= 0 {
		return name[:i]
	}
	return name
}

// match says whether a run-as string is the target. One that merely looks like
// it is ambiguous, and never acted on.
func (r *run) match(ctx context.Context, runAs string) (*powershell.Match, error) {
	found, err := r.resolve(ctx, runAs)
	if err != nil {
		return nil, err
	}
	if r.req.Target == nil {
		return r.owner(ctx, found)
	}
	m := &powershell.Match{By: "none", Class: found.class, SID: found.sid}
	if found.sid != "" {
		m.By = "sid"
		m.Hit = slices.Contains(r.who.sids, found.sid)
		m.Namesake = !m.Hit && found.class == "user" && len(r.who.sids) > 0 && strings.EqualFold(samOf(runAs), r.who.sam)
		return m, nil
	}
	if slices.ContainsFunc(r.who.Names, func(n string) bool { return strings.EqualFold(n, runAs) }) {
		m.By, m.Hit = "name", true
		return m, nil
	}
	m.Ambiguous = strings.EqualFold(samOf(runAs), r.who.sam)
	return m, nil
}

// refusal is why an item is not written; "" when it may be.
func refusal(m *powershell.Match) string {
	switch {
	case m.Ambiguous:
		return powershell.ClassAmbiguous
	case m.Class == "managed":
		return powershell.ClassManaged
	case m.Class == "virtual":
		return powershell.ClassVirtual
	case m.Class == "builtin":
		return powershell.ClassBuiltin
	case !m.Hit:
		return powershell.ClassRunAsChanged
	}
	return ""
}

// concerns reports whether an item is the target's, or looks like it.
func concerns(m *powershell.Match) bool { return m.Hit || m.Ambiguous || m.Namesake }

// resolveTarget completes what the request left open.
func (r *run) resolveTarget(ctx context.Context) error {
	t := *r.req.Target
	r.who = target{Account: t, sids: t.SIDs, sam: t.Sam, class: "unresolved"}
	for _, n := range t.Names {
		if len(r.who.sids) > 0 {
			break
		}
		found, err := r.resolve(ctx, n)
		if err != nil {
			return err
		}
		if found.sid != "" {
			r.who.sids = []string{found.sid}
		}
	}
	if len(r.who.sids) == 0 {
		return nil
	}
	name, err := r.sidName(ctx, r.who.sids[0])
	if err != nil {
		return err
	}
	r.who.describe(name, r.info)
	return nil
}

func (w *target) describe(name string, info model.Info) {
	w.name = name
	w.class = sidClass(w.sids[0], name)
	if name == "" && w.class == "user" {
		w.class = "unresolved"
	}
	w.scope = scope(w.sids[0], name, info)
	_, sam, _ := strings.Cut(name, `\`)
	if name != "" {
		w.sam = sam
	}
	if w.TaskUser == "" {
		w.TaskUser = name
	}
}

// local reports whether this machine decides the account's password.
func (w *target) local(info model.Info) bool {
	return w.scope == "local" || info.DC && w.scope == "domain"
}

func (r *run) hello(ctx context.Context) error {
	services, err := ask(ctx, r.m.Services)
	if err != nil {
		return err
	}
	return r.emit(ctx, powershell.Line{
		T: "hello", V: 1, Run: r.req.Run, Host: r.info.Name, PS: "5.1.20348.2110", OS: r.info.OS, Lang: "FullLanguage",
		Elevated: r.info.Elevated, IIS: r.info.IIS,
		Cluster: slices.ContainsFunc(services, func(s model.Service) bool { return s.Clustered }),
	})
}

// introduce writes the machine line, and the account line of a target.
func (r *run) introduce(ctx context.Context) error {
	l := powershell.Line{
		T: "machine", GUID: r.info.GUID, Domain: r.info.Domain, DC: r.info.DC, User: r.info.User, UserSID: r.info.UserSID,
		StorageDisabled: r.info.StorageDisabled,
	}
	about := r.who.scope
	if r.req.Target == nil && r.info.Domain != "" {
		about = "domain"
	}
	asked := r.req.Target != nil || r.req.Op == powershell.OpPing || r.req.Op == powershell.OpLook
	if asked && (about != "domain" || r.info.DC || r.info.Domain != "") {
		n := r.info.LocalThreshold
		if about == "domain" {
			n = r.info.LockoutThreshold
		}
		l.LockoutThreshold = &n
	}
	if err := r.emit(ctx, l); err != nil || r.req.Target == nil {
		return err
	}
	return r.emitAccount(ctx)
}

func (r *run) emitAccount(ctx context.Context) error {
	l := powershell.Line{T: "account", Sam: r.who.sam, Name: r.who.name, Class: r.who.class, Scope: r.who.scope}
	if len(r.who.sids) > 0 {
		l.SID = r.who.sids[0]
		l.SelfRotation = slices.Contains(r.who.sids, r.info.UserSID)
	}
	if r.who.class == "user" && r.who.local(r.info) {
		v, err := ask(ctx, func() (model.AccountView, error) { return r.m.Account(l.SID) })
		if dead(err) {
			return err
		}
		if err == nil {
			l.StatusKnown, l.Disabled, l.Locked, l.MustChange = true, v.Disabled, v.Locked, v.MustChange
			l.BadCount = v.BadCount
		}
	}
	return r.emit(ctx, l)
}
