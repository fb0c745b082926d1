package memory

// A sortable value can be ordered.
type sortable[T any] interface{ before(T) bool }

// A heap is a binary min-heap.
type heap[T sortable[T]] []T

var (
	_ sortable[entry]      = entry{}
	_ sortable[timedEntry] = timedEntry{}
)

func (h *heap[T]) push(v T) {
	a := append(*h, v)
	i := len(a) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !v.before(a[up]) {
			break
		}
		a[i] = a[up]
		i = up
	}
	a[i] = v
	*h = a
}

// pop removes and returns the first value.
func (h *heap[T]) pop() T {
	a := *h
	first, last := a[0], a[len(a)-1]
	var zero T
	a[len(a)-1] = zero
	a = a[:len(a)-1]
	if len(a) > 0 {
		a[0] = last
		a.sink(0)
	}
	*h = a
	return first
}

func (h heap[T]) sink(i int) {
	v := h[i]
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1].before(h[c]) {
			c++
		}
		if !h[c].before(v) {
			break
		}
		h[i] = h[c]
		i = c
	}
	h[i] = v
}

// keep removes the values for which ok returns false.
func (h *heap[T]) keep(ok func(T) bool) {
	a := *h
	kept := a[:0]
	for _, v := range a {
		if ok(v) {
			kept = append(kept, v)
		}
	}
	clear(a[len(kept):])
	for i := len(kept)/2 - 1; i >= 0; i-- {
		kept.sink(i)
	}
	*h = kept
}
