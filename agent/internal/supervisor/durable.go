package supervisor

import (
	"encoding/json"
	"fmt"
)

// A change is written before anyone acts on it, so that the next agent knows of
// all that this one did, however it ends. It survives a power cut before anyone is
// told. In between lies the disk, which nothing waits for that a power cut undoes
// as well: processes, sockets, weights.

// durable is how far the disk is.
type durable struct {
	written int           // writes of the record
	synced  int           // of those, how many a power cut leaves
	syncing chan struct{} // closed when the sync under way has ended; nil: none is
	untold  []untold      // in order
}

// untold is what is to be told once so many writes are synced.
type untold struct {
	written int
	tell    func()
}

// save writes the record and begins to sync it.
func (o *owner) save() error {
	o.rec.prune(o.wall())
	data, err := json.Marshal(o.rec)
	if err != nil {
		return fmt.Errorf("encode the service's record: %w", err)
	}
	if err := o.sup.records.WriteRecord(o.name, data); err != nil {
		return fmt.Errorf("service %s: write its record: %w", o.name, err)
	}
	o.unsaved = false
	o.disk.written++
	o.sync()
	return nil
}

// saveLater has a record written that could not be, or perhaps does not last.
func (o *owner) saveLater() {
	o.unsaved = true
	o.later(o.saveAgain)
}

func (o *owner) saveAgain() {
	if !o.unsaved || o.deleted {
		return
	}
	if err := o.save(); err != nil {
		o.log.Error("the record could not be written; trying again", "error", err)
		o.later(o.saveAgain)
	}
	o.publish()
}

func (o *owner) sync() {
	if o.disk.syncing != nil || o.disk.synced == o.disk.written {
		return
	}
	done, written := make(chan struct{}), o.disk.written
	o.disk.syncing = done
	go func() {
		err := o.sup.records.SyncRecord(o.name)
		close(done)
		o.post(o.ctx, func() { o.synced(written, err) })
	}()
}

// synced tells what waited for these writes. If they may not last, the status says
// so.
func (o *owner) synced(written int, err error) {
	o.disk.syncing, o.disk.synced = nil, written
	if err != nil && !o.deleted {
		o.log.Error("the record must be written again", "error", err)
		o.saveLater()
		o.publish()
	}
	for len(o.disk.untold) > 0 && o.disk.untold[0].written <= written {
		o.disk.untold[0].tell()
		o.disk.untold = o.disk.untold[1:]
	}
	o.sync()
}

// tell runs f once all that was written up to now survives a power cut.
func (o *owner) tell(f func()) {
	if o.disk.synced == o.disk.written {
		f()
		return
	}
	o.disk.untold = append(o.disk.untold, untold{o.disk.written, f})
}
