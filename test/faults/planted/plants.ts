import { syncBuiltinESMExports } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import zlib from 'node:zlib'
import { Level } from 'level'

/**
 * Faults that can be planted into the broker, to test whether the campaigns find them. The program has no switch for
 * them:
 * planted/main.ts changes its classes from outside before it starts.
 */
export interface Plant {
  readonly title: string
  /** A campaign that must find it. */
  readonly campaign: string
  /** Changes the program; called before the rest of it is loaded. */
  plant(): Promise<void>
}

type Batch = (this: unknown, operations: readonly unknown[], options: object) => Promise<void>

const lateWriteMs = 15
const absentKey = Uint8Array.of(0xff, 0xff)

/** Replaces LevelDB's atomic writes. */
function replaceWrites(replace: (write: Batch) => Batch): void {
  const prototype = Level.prototype as unknown as { batch: Batch }
  const original = prototype.batch
  prototype.batch = function (operations, options) {
    // Without operations it opens a chained batch.
    return operations === undefined
      ? (original as () => Promise<void>).call(this)
      : replace(original).call(this, operations, options)
  }
}

const noFsync: Plant = {
  title: 'commits are written and not synced',
  campaign: 'power',
  plant: async () =>
    replaceWrites(
      (write) =>
        function (operations, options) {
          return write.call(this, operations, { ...options, sync: false })
        },
    ),
}

const ackBeforeWrite: Plant = {
  title: 'commits are acknowledged first and written a little later',
  campaign: 'kill',
  plant: async () =>
    replaceWrites(
      (write) =>
        async function (operations, options) {
          // A late write must have the original data, because the caller may reuse its buffers.
          const copy = structuredClone(operations)
          sleep(lateWriteMs)
            .then(() => write.call(this, copy, options))
            .catch(() => {})
        },
    ),
}

const asyncThenSync: Plant = {
  title: 'a commit is written without a sync, and a write after it is synced',
  campaign: 'power',
  plant: async () =>
    replaceWrites(
      (write) =>
        async function (operations, options) {
          await write.call(this, operations, { ...options, sync: false })
          await write.call(this, [{ type: 'del', key: absentKey }], options)
        },
    ),
}

const noFencing: Plant = {
  title: 'commits of members that do not own the partition any more are accepted',
  campaign: 'zombies',
  plant: async () => {
    const { Group } = await import('../../../broker/groups/group.js')
    const { Groups } = await import('../../../broker/groups/groups.js')
    let committing = false
    const commit = Groups.prototype.commit
    Groups.prototype.commit = function (request) {
      committing = true
      try {
        return commit.call(this, request)
      } finally {
        committing = false
      }
    }
    const member = Group.prototype.member
    Group.prototype.member = function (memberId) {
      const anyone = this.members.values().next().value
      return committing && !this.members.has(memberId) && anyone !== undefined
        ? anyone
        : member.call(this, memberId)
    }
    Group.prototype.commitProblem = () => undefined
  },
}

const noChecksum: Plant = {
  title: 'every checksum is 0, so that none notices anything',
  campaign: 'bit-rot',
  plant: async () => {
    zlib.crc32 = () => 0
    syncBuiltinESMExports()
  },
}

const noDedupe: Plant = {
  title: 'a batch that comes again is appended again',
  campaign: 'kill',
  plant: async () => {
    const { ProducerTable } = await import('../../../broker/partition/producers.js')
    ProducerTable.prototype.check = () => ({ kind: 'append' })
  },
}

const delayedEarly: Plant = {
  title: 'delayed messages are appended 400 ms before they are due',
  campaign: 'delayed',
  plant: async () => {
    const { DelayedFiring } = await import('../../../broker/later/delayed_firing.js')
    const fire = DelayedFiring.prototype.fire
    DelayedFiring.prototype.fire = function (nowMs) {
      return fire.call(this, nowMs + 400)
    }
  },
}

const delayedForgotten: Plant = {
  title: 'one delayed message in 1,000 is not kept in memory, so that only a restart appends it',
  campaign: 'delayed',
  plant: async () => {
    const { NearMessages } = await import('../../../broker/later/near_messages.js')
    const added = NearMessages.prototype.added
    let count = 0
    NearMessages.prototype.added = function (key, message) {
      if (++count % 1_000 !== 0) added.call(this, key, message)
    }
  },
}

const lostLeasesCount: Plant = {
  title: 'leases that never reached their worker are not released when it comes back',
  campaign: 'leases',
  plant: async () => {
    const { LiveGroup } = await import('../../../broker/queues/live_group.js')
    LiveGroup.prototype.reported = async function (_workerId, _session, held) {
      this.extend(held, undefined)
    }
  },
}

const deletionUnnoticed: Plant = {
  title: 'workers whose topic is deleted are not sent back to open their group',
  campaign: 'recreated',
  plant: async () => {
    const { LiveGroup } = await import('../../../broker/queues/live_group.js')
    LiveGroup.prototype.topicDeleted = () => {}
  },
}

/** By name, as `--plant` takes it. */
export const plants: ReadonlyMap<string, Plant> = new Map(
  Object.entries({
    'no-fsync': noFsync,
    'ack-before-write': ackBeforeWrite,
    'async-then-sync': asyncThenSync,
    'no-fencing': noFencing,
    'no-checksum': noChecksum,
    'no-dedupe': noDedupe,
    'delayed-early': delayedEarly,
    'delayed-forgotten': delayedForgotten,
    'lost-leases-count': lostLeasesCount,
    'deletion-unnoticed': deletionUnnoticed,
  }),
)
