import type { Command } from 'commander'
import type { BrokerStatus } from '../../client/index.js'
import { type CommonOptions, withClient, withCommon } from '../options.js'
import { formatBytes, formatDuration, printJson, printTable } from '../output.js'

export function addStatus(program: Command): void {
  withCommon(program.command('status').description('show the status of the broker')).action(
    async (options: CommonOptions) => {
      const status = await withClient(options, (client) => client.status())
      if (options.json) printJson(status)
      else printTable(rows(status))
      // For scripts: the exit code is success unless the broker has failed.
      if (status.health.status === 'failed') process.exitCode = 1
    },
  )
}

function rows(status: BrokerStatus): [string, string][] {
  const { health, rates, log, memory } = status
  const perSecond = (value: number) => `${Math.round(value).toLocaleString('en')}/s`
  const bytesPerSecond = (value: number) => `${formatBytes(Math.round(value))}/s`
  return [
    ['version', `${status.version} (Node.js ${status.nodeVersion}, pid ${status.pid})`],
    ['uptime', formatDuration(status.uptimeMs)],
    ['health', health.status + (status.draining ? ' (draining)' : '')],
    ...health.reasons.map((reason): [string, string] => ['', reason]),
    ['connections', String(status.connections)],
    ['topics', `${status.topics} with ${status.partitions} partitions`],
    ['groups', String(status.groups)],
    ['published', `${perSecond(rates.publishedRecords)}, ${bytesPerSecond(rates.publishedBytes)}`],
    ['fetched', `${perSecond(rates.fetchedRecords)}, ${bytesPerSecond(rates.fetchedBytes)}`],
    ['requests', `${perSecond(rates.requests)} in ${perSecond(rates.commits)} commits`],
    [
      'log',
      `${formatBytes(log.liveBytes)} live, ${formatBytes(log.diskBytes)} on disk, ${formatBytes(log.freeBytes)} free`,
    ],
    ['memory', `${formatBytes(memory.residentBytes)} resident`],
  ]
}
