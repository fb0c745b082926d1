package directive

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/runtime/cron"
)

// Schedule is what an //af:schedule directive says.
type Schedule struct {
	ID      string
	Cron    string
	Zone    string   // an IANA name
	Allow   []string // addresses and networks; nil for any
	Missed  string   // skip, once or all
	Overlap string   // skip, allow or queue
}

// Schedule returns what d says, defaults included, d being an //af:schedule directive, and what is wrong with its
// values. A wrong value counts as not given.
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
	return &fault{diag.BadCron, "is not a time table: " + e.Problem,
		`write minute, hour, day, month and weekday, such as cron="30 6 * * mon-fri", seconds before them if need be, cron="@every 90s" or cron=@hourly`,
		e.Offset, e.Length}
}

func zoneFault(text string) *fault {
	if _, err := cron.Zone(text); err == nil && text != "" {
		return nil
	}
	return &fault{code: diag.BadZone, problem: "is not a time zone", hint: "write an IANA name, such as tz=Europe/Berlin"}
}

// addresses reads a list of addresses and networks, and returns each in its one spelling.
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
			return nil, &fault{diag.BadAddress, "names " + quote(word) + ", which is neither an ip nor a network",
				"write addresses and networks, separated by commas, such as allow=10.0.0.7,10.1.0.0/16", from, len(word)}
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
