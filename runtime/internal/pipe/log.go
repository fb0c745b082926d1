package pipe

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// A logHandler sends a child's log records to the parent, which knows the task and the log.
type logHandler struct {
	c     *Client
	level slog.Level
	with  []with // in the order of the calls
}

// A with is one WithGroup, or the attributes of one WithAttrs.
type with struct {
	group string
	attrs []slog.Attr
}

// A wireRecord is an encoded record.
type wireRecord struct {
	Time    time.Time  `json:"time"`
	Level   slog.Level `json:"level"`
	Message string     `json:"message"`
	Attrs   []wireAttr `json:"attrs,omitempty"`
}

// A wireAttr is an encoded attribute. One field apart from the key is set, according to its kind.
type wireAttr struct {
	Key   string         `json:"key"`
	Text  *string        `json:"text,omitempty"`
	Int   *int64         `json:"int,omitempty"`
	Uint  *uint64        `json:"uint,omitempty"`
	Took  *time.Duration `json:"took,omitempty"`
	Time  *time.Time     `json:"time,omitempty"`
	JSON  any            `json:"json,omitempty"`
	Group []wireAttr     `json:"group,omitempty"`
}

func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.and(with{attrs: attrs})
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return h.and(with{group: name})
}

func (h *logHandler) and(w with) slog.Handler {
	return &logHandler{h.c, h.level, append(slices.Clip(h.with), w)}
}

// Handle sends a record. It blocks if the parent logs slowly.
func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	attrs := make([]slog.Attr, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, a)
		return true
	})
	for _, w := range slices.Backward(h.with) {
		if w.group != "" {
			attrs = []slog.Attr{{Key: w.group, Value: slog.GroupValue(attrs...)}}
		} else {
			attrs = append(slices.Clip(w.attrs), attrs...)
		}
	}
	return h.c.self.Notify(noticeLog, wireRecord{r.Time, r.Level, r.Message, toWire(attrs)})
}

func toWire(attrs []slog.Attr) []wireAttr {
	out := make([]wireAttr, 0, len(attrs))
	for _, a := range attrs {
		w, v := wireAttr{Key: a.Key}, a.Value.Resolve()
		switch v.Kind() {
		case slog.KindGroup:
			if w.Group = toWire(v.Group()); len(w.Group) == 0 {
				continue
			}
		case slog.KindString:
			s := v.String()
			w.Text = &s
		case slog.KindInt64:
			n := v.Int64()
			w.Int = &n
		case slog.KindUint64:
			n := v.Uint64()
			w.Uint = &n
		case slog.KindDuration:
			d := v.Duration()
			w.Took = &d
		case slog.KindTime:
			t := v.Time()
			w.Time = &t
		default: // special floats, errors and other values without an encoding become text
			if _, isErr := v.Any().(error); !isErr {
				if text, err := json.Marshal(v.Any()); err == nil {
					w.JSON = json.RawMessage(text)
					break
				}
			}
			s := fmt.Sprint(v.Any())
			w.Text = &s
		}
		out = append(out, w)
	}
	return out
}

func fromWire(attrs []wireAttr) []slog.Attr {
	out := make([]slog.Attr, 0, len(attrs))
	for _, w := range attrs {
		switch {
		case w.Group != nil:
			out = append(out, slog.Attr{Key: w.Key, Value: slog.GroupValue(fromWire(w.Group)...)})
		case w.Text != nil:
			out = append(out, slog.String(w.Key, *w.Text))
		case w.Int != nil:
			out = append(out, slog.Int64(w.Key, *w.Int))
		case w.Uint != nil:
			out = append(out, slog.Uint64(w.Key, *w.Uint))
		case w.Took != nil:
			out = append(out, slog.Duration(w.Key, *w.Took))
		case w.Time != nil:
			out = append(out, slog.Time(w.Key, *w.Time))
		default:
			out = append(out, slog.Any(w.Key, w.JSON))
		}
	}
	return out
}

// logRecord logs a child's record.
func logRecord(ctx context.Context, h slog.Handler, body json.RawMessage) {
	var w wireRecord
	if json.Unmarshal(body, &w) != nil || !h.Enabled(ctx, w.Level) {
		return
	}
	r := slog.NewRecord(w.Time, w.Level, w.Message, 0)
	r.AddAttrs(fromWire(w.Attrs)...)
	_ = h.Handle(ctx, r) // slog ignores it, too
}

// lowest returns the minimum level that h handles.
func lowest(ctx context.Context, h slog.Handler) slog.Level {
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if h.Enabled(ctx, l) {
			return l
		}
	}
	return slog.LevelError + 1
}
