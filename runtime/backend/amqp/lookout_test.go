package amqp

import (
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

func TestAbsentIsWhoHasNoConnection(t *testing.T) {
	url := devstack.AMQP(t)
	proxy := newProxy(t, url)
	looks, goes, stays := dial(t, proxy.url), dial(t, url), dial(t, proxy.url)
	of := func(c *Conn) string { return c.config.Instance.ID }
	all := []string{of(looks), of(goes), of(stays), "never", "", strings.Repeat("long", 100)}
	absent := func() []string {
		got, err := looks.transport.Absent(t.Context(), all)
		must(t, err)
		return got
	}

	if got := absent(); !slices.Equal(got, []string{"never"}) {
		t.Errorf("absent are %v", got)
	}
	closes(t, goes)
	eventually(t, "who left is absent", func() bool { return slices.Equal(absent(), []string{of(goes), "never"}) })
	first := looks.await(t.Context(), nil)
	proxy.cut()
	second := looks.await(t.Context(), first)
	_, err := looks.transport.Absent(t.Context(), all)
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeUnknown) // others may not be there yet
	second.born = second.born.Add(-gathering)
	eventually(t, "who connects again is there", func() bool { return slices.Equal(absent(), []string{of(goes), "never"}) })
	closes(t, looks)
	if _, err = looks.transport.Absent(t.Context(), all); backend.CodeOf(err) != backend.ErrUnavailable {
		t.Errorf("closed: %v", err)
	}
}
