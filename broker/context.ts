import type { Admission } from './admission.js'
import type { Backups } from './backups.js'
import type { BrokerSettings } from './config.js'
import type { Groups } from './groups/index.js'
import type { Later } from './later/index.js'
import type { Logger } from './log.js'
import type { LongPolls } from './long_polls.js'
import type { Metrics } from './metrics.js'
import type { Server } from './net/server.js'
import type { Queues } from './queues/index.js'
import type { Replies } from './replies/replies.js'
import type { Retention } from './retention.js'
import type { Shard } from './shard.js'
import type { TurnBudget } from './turn_budget.js'
import type { WallClock } from './wall_clock.js'

/** The parts of a running broker that handlers use. */
export interface BrokerContext {
  readonly settings: BrokerSettings
  readonly shard: Shard
  readonly admission: Admission
  readonly groups: Groups
  readonly queues: Queues
  readonly replies: Replies
  readonly later: Later
  readonly server: Server
  readonly longPolls: LongPolls
  /** Budget for replies with messages. */
  readonly fetchTurns: TurnBudget
  readonly retention: Retention
  readonly backups: Backups
  readonly metrics: Metrics
  readonly logger: Logger
  readonly clock: WallClock
  readonly startedAtMs: number
  /** Whether the broker is shutting down. */
  readonly draining: boolean
}
