package admin

import (
	"context"
	"encoding/base64"
	"encoding/json"

	af "github.com/afgen/afgen/runtime"
)

// A TreeQuery selects a page of the descendants of a task.
type TreeQuery struct {
	ID     string // of the task
	Depth  int    // levels below the task: 1 to 32; 0 means 32
	Limit  int    // tasks on a page: 1 to 1000; 0 means 100
	Cursor string // the Cursor of the previous page
}

// A TreePage is one page of the descendants of a task: each subtask is followed by its own, oldest first. A page may
// have fewer tasks than the limit, or none, before the last one.
type TreePage struct {
	Nodes  []Node `json:"nodes"`
	Cursor string `json:"cursor,omitempty"` // of the next page; "" on the last one
}

// A Node is a task of a tree.
type Node struct {
	Depth int     `json:"depth"` // 1 for subtasks of the task itself
	Task  af.Task `json:"task"`  // without payload, result, progress, log, metadata and attempts
	// Counts has the number of its subtasks by status; nil if it has none, or for all but the first 20 sources of a page.
	Counts map[af.Status]af.Count `json:"counts,omitempty"`
}

const (
	maxDepth    = 32
	siblings    = 100 // tasks that are read at once
	maxReads    = 200 // lists that are read for a page
	maxCounted  = 20  // sources of a page whose subtasks are counted
	maxTreeTask = 1000
)

// A level is a position in the subtasks of a source: that of the list with this cursor. Levels whose last subtask was
// read are left out, so the depth of a level is not its index.
type level struct {
	Source string `json:"s"`
	Depth  int    `json:"d"` // of the subtasks
	Cursor string `json:"c,omitempty"`
	Skip   int    `json:"n,omitempty"`
}

func (d *direct) Tree(ctx context.Context, q TreeQuery) (TreePage, error) {
	limit, depth := q.Limit, q.Depth
	if limit == 0 {
		limit = 100
	}
	if depth == 0 {
		depth = maxDepth
	}
	if limit < 0 || limit > maxTreeTask || depth < 0 || depth > maxDepth {
		return TreePage{}, refused(af.ErrInvalidArgument, "limit %d or depth %d out of range [1, %d] and [1, %d]", q.Limit,
			q.Depth, maxTreeTask, maxDepth)
	}
	at := []level{{Source: q.ID, Depth: 1}}
	if q.Cursor == "" {
		if _, err := d.app.GetTask(ctx, q.ID); err != nil {
			return TreePage{}, err
		}
	} else if err := decodeCursor(q, &at); err != nil {
		return TreePage{}, err
	}
	page := TreePage{Nodes: []Node{}}
	for reads, counted := 0, 0; len(at) > 0 && len(page.Nodes) < limit && reads < maxReads; reads++ {
		top := &at[len(at)-1]
		list, err := d.app.Tasks(ctx, af.TaskQuery{
			Source: top.Source, Sort: af.TasksByOldest, Limit: siblings, Cursor: top.Cursor,
		})
		if err != nil {
			return TreePage{}, err
		}
		below, belowDepth := "", top.Depth+1
		for top.Skip < len(list.Tasks) && len(page.Nodes) < limit && below == "" {
			t := &list.Tasks[top.Skip]
			n := Node{Depth: top.Depth, Task: t.Head()}
			if source := t.Spawned || t.Subtasks != nil; source {
				if counted++; counted <= maxCounted {
					if n.Counts, err = children(ctx, d.app, t.ID); err != nil {
						return TreePage{}, err
					}
				}
				if top.Depth < depth {
					below = t.ID
				}
			}
			page.Nodes = append(page.Nodes, n)
			top.Skip++
		}
		if top.Skip >= len(list.Tasks) {
			if top.Cursor, top.Skip = list.Cursor, 0; top.Cursor == "" {
				at = at[:len(at)-1]
			}
		}
		if below != "" {
			at = append(at, level{Source: below, Depth: belowDepth})
		}
	}
	if len(at) > 0 {
		raw, err := json.Marshal(at)
		if err != nil {
			return TreePage{}, af.Errorf(af.ErrInternal, "encoding a cursor: %w", err)
		}
		page.Cursor = base64.RawURLEncoding.EncodeToString(raw)
	}
	return page, nil
}

// decodeCursor decodes the cursor of a query.
func decodeCursor(q TreeQuery, at *[]level) error {
	raw, err := base64.RawURLEncoding.DecodeString(q.Cursor)
	if err == nil {
		*at = nil
		err = json.Unmarshal(raw, at)
	}
	ok := err == nil && len(*at) > 0 && len(*at) <= maxDepth
	for i := range *at {
		ok = ok && (*at)[i].Skip >= 0 && (*at)[i].Source != "" && (*at)[i].Depth > 0
	}
	if !ok {
		return refused(af.ErrInvalidArgument, "the cursor is not one of this tree")
	}
	return nil
}
