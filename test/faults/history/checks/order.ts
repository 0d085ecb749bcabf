import type { Check } from '../check.js'
import { publishText } from '../evidence.js'
import type { Publish } from '../history_index.js'

export const realTimeOrder: Check = {
  name: 'real-time-order',
  title: 'acknowledged before another publish started, and after it in the partition',
  run({ index, report }) {
    for (const { name, log } of index.partitions) {
      // The latest-begun publish before it in the log: if that one is not too late, none is.
      let latest: Publish | undefined
      for (const publish of log) {
        const before = latest
        if (before !== undefined && publish.outcome === 'ok' && publish.completedAt < before.invokedAt) {
          report(
            () => `${name}: ${placedText(publish)} is after ${placedText(before)}, which was started later`,
          )
        }
        if (latest === undefined || publish.invokedAt > latest.invokedAt) latest = publish
      }
    }
  },
}

export const publisherOrder: Check = {
  name: 'publisher-order',
  title: 'values of one publisher in another order than it published them',
  run({ index, report }) {
    const last = new Map<string, Map<string, Publish>>()
    for (const publish of index.publishes) {
      if (publish.place === undefined) continue
      let lanes = last.get(publish.process)
      if (lanes === undefined) {
        lanes = new Map()
        last.set(publish.process, lanes)
      }
      const lane = `${publish.call.topic} ${publish.call.lane}`
      const before = lanes.get(lane)
      lanes.set(lane, publish)
      if (before?.place === undefined) continue
      if (before.place.partition !== publish.place.partition) {
        report(
          () =>
            `${placedText(publish)} is not in the partition of its lane: ${placedText(before)} was before it`,
        )
      } else if (before.place.offset > publish.place.offset) {
        report(
          () => `${placedText(publish)} is before ${placedText(before)}, which its publisher started earlier`,
        )
      }
    }
  },
}

function placedText(publish: Publish): string {
  return `${publishText(publish)} at ${publish.place?.partition.name} offset ${publish.place?.offset}`
}
