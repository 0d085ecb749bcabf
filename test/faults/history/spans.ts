import type { Assigned, Delivered } from './history.js'
import type { GroupPartition } from './history_index.js'

/** The deliveries of a partition to a process during one continuous assignment. */
export interface Span {
  readonly process: string
  /** Its start; undefined for deliveries without an assignment. */
  readonly assigned: Assigned | undefined
  readonly deliveries: readonly Delivered[]
}

/** The spans of a partition in a group, in the order of their starts. */
export function spansOf({ timeline }: GroupPartition): Span[] {
  const spans: (Span & { readonly deliveries: Delivered[] })[] = []
  const open = new Map<string, Span & { readonly deliveries: Delivered[] }>()
  const begin = (process: string, assigned: Assigned | undefined) => {
    const span = { process, assigned, deliveries: [] }
    spans.push(span)
    open.set(process, span)
    return span
  }
  for (const event of timeline) {
    if (event.type === 'assigned') begin(event.process, event)
    else if (event.type === 'revoked') open.delete(event.process)
    else (open.get(event.process) ?? begin(event.process, undefined)).deliveries.push(event)
  }
  return spans
}

/** As evidence names it. */
export function spanText({ process, assigned }: Span): string {
  if (assigned === undefined) return process
  const epoch = assigned.epoch === undefined ? '' : `, epoch ${assigned.epoch}`
  return `${process} (assigned at ${assigned.at} us${epoch})`
}

/** As evidence names the group and the partition. */
export function groupText({ group, partition }: GroupPartition): string {
  return group === null ? partition.name : `${partition.name} in group ${group}`
}
