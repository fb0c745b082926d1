package directive

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/runtime/cron"
)

// A Schedule holds the values of an //af:schedule directive.
type Schedule struct {
	ID      string
	Cron    string
	Zone    string   // an IANA name
	Allow   []string // addresses and networks; nil for any
	Missed  string   // skip, once or all
	Overlap string   // skip, allow or queue
}

// Schedule returns the values of d, an //af:schedule directive, including defaults, and the problems of its values. An
// invalid value counts as missing.
func (d *Directive) Schedule() (Schedule, diag.List) {
	of, problems := d.values()
	return Schedule{
		ID:      value[string](of, "id"),
		Cron:    value[string](of, "cron"),
		Zone:    value[string](of, "tz"),
		Allow:   value[[]string](of, "allow"),
		Missed:  value[string](of, "missed"),
		Overlap: value[string](of, "overlap"),
	}, problems
}

func cronFault(text string) *fault {
	_, err := cron.Parse(text, nil)
	e, ok := errors.AsType[*cron.Error](err)
	if !ok {
		return nil
	}
	return &fault{diag.BadCron, "is not a cron expression: " + e.Problem,
		`write minute, hour, day, month and weekday, optionally with seconds first, such as cron="30 6 * * mon-fri"; ` +
			`or cron="@every 90s" or cron=@hourly`,
		e.Offset, e.Length}
}

func zoneFault(text string) *fault {
	if _, err := cron.Zone(text); err == nil && text != "" {
		return nil
	}
	return &fault{code: diag.BadZone, problem: "is not a time zone", hint: "write an IANA name, such as tz=Europe/Berlin"}
}

// addresses parses a list of addresses and networks and returns each in canonical form.
func addresses(text string) (any, *fault) {
	var all []string
	for at := 0; at <= len(text); {
		item, _, _ := strings.Cut(text[at:], ",")
		word := strings.TrimSpace(item)
		a, ok := address(word)
		if !ok {
			from := at + strings.Index(item, word)
			if word == "" {
				from, word = at, item
			}
			return nil, &fault{diag.BadAddress, "contains " + quote(word) + ", which is neither an address nor a network",
				"write IP addresses and networks separated by commas, such as allow=10.0.0.7,10.1.0.0/16", from, len(word)}
		}
		all = append(all, a)
		at += len(item) + 1
	}
	return all, nil
}

func address(text string) (string, bool) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		return p.Masked().String(), err == nil
	}
	a, err := netip.ParseAddr(text)
	return a.Unmap().WithZone("").String(), err == nil
}
