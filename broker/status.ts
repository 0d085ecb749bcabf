import type { commands, ReplyOf } from '../protocol/index.js'
import type { BrokerContext } from './context.js'
import { brokerVersion } from './version.js'

/** The health and metrics of a broker for the command `status`. */
export type BrokerStatus = ReplyOf<typeof commands.status>

export async function brokerStatus(broker: BrokerContext): Promise<BrokerStatus> {
  const { shard, metrics, server, groups, startedAtMs, retention, later } = broker
  const { liveBytes, freeBytes } = shard.store.stats
  const memory = process.memoryUsage()
  return {
    brokerId: broker.settings.brokerId,
    version: brokerVersion,
    nodeVersion: process.version,
    pid: process.pid,
    startedAtMs,
    uptimeMs: Math.max(0, Date.now() - startedAtMs),
    health: healthOf(broker, [retention.problem, later.problem]),
    connections: server.connections,
    topics: shard.catalog.topicCount,
    partitions: shard.catalog.partitionCount,
    groups: groups.count,
    draining: broker.draining,
    rates: metrics.rates(performance.now()),
    log: {
      liveBytes,
      diskBytes: await shard.store.diskBytes(),
      freeBytes: Math.min(freeBytes, Number.MAX_SAFE_INTEGER),
    },
    memory: { residentBytes: memory.rss, heapBytes: memory.heapUsed, externalBytes: memory.external },
  }
}

/** The health of storage, lowered by problems of the broker itself. */
function healthOf(
  { shard, draining }: BrokerContext,
  problems: readonly (string | undefined)[],
): BrokerStatus['health'] {
  const { status, reasons: stored } = shard.health
  const reasons = [...stored]
  if (draining) reasons.push('the broker is shutting down')
  for (const problem of problems) if (problem !== undefined) reasons.push(problem)
  return { status: status === 'ok' && reasons.length > 0 ? 'degraded' : status, reasons }
}
