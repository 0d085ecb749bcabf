import type { Command } from 'commander'
import type { TopicDescription, TopicOptions, TopicSummary } from '../../client/index.js'
import { limits } from '../../protocol/index.js'
import { confirmed } from '../confirm.js'
import { exitCodes } from '../errors.js'
import {
  type CommonOptions,
  collect,
  durationOrForever,
  durationUpTo,
  size,
  wholeNumber,
  withClient,
  withCommon,
} from '../options.js'
import { counted, formatBytes, formatDuration, printJson, printTable } from '../output.js'

interface SettingsOptions extends CommonOptions {
  readonly partitions?: number
  readonly retentionTime?: string
  readonly retentionBytes?: string
  readonly batchBytesMax?: string
  readonly dedupeWindow?: string
}

interface PurgeOptions extends CommonOptions {
  readonly partition?: readonly number[]
  readonly yes?: true
}

export function addTopic(program: Command): void {
  const topic = program.command('topic').description('create, list, describe, alter, purge and delete topics')
  withSettings(topic.command('create <topic>').description('create a topic')).action(
    async (name: string, options: SettingsOptions) => {
      const summary = await withClient(options, (client) => client.topics.create(name, settings(options)))
      report(options, summary, `created topic "${name}" with ${count(summary.partitions, 'partition')}`)
    },
  )
  withSettings(
    topic.command('alter <topic>').description('change the settings of a topic, or add partitions'),
  ).action(async (name: string, options: SettingsOptions) => {
    const summary = await withClient(options, (client) => client.topics.alter(name, settings(options)))
    report(
      options,
      summary,
      `topic "${name}" has ${count(summary.partitions, 'partition')}, ${retentionText(summary)}`,
    )
  })
  withCommon(topic.command('delete <topic>').description('delete a topic and its messages')).action(
    async (name: string, options: CommonOptions) => {
      await withClient(options, (client) => client.topics.delete(name))
      report(options, { topic: name, deleted: true }, `deleted topic "${name}"`)
    },
  )
  withCommon(
    topic.command('purge <topic>').description('delete all current messages of a topic, but not the topic'),
  )
    .option('--partition <n>', 'only this partition; repeatable', collect(wholeNumber()))
    .option('-y, --yes', 'do not ask for confirmation')
    .action(purge)
  withCommon(topic.command('list').description('list the topics')).action(async (options: CommonOptions) => {
    const topics = await withClient(options, (client) => client.topics.list())
    if (options.json) return printJson(topics)
    const rows = topics.map((one) => [one.name, one.partitions, retentionText(one)])
    printTable([['topic', 'partitions', 'retention'], ...rows])
  })
  withCommon(
    topic.command('describe <topic>').description('show the settings and partitions of a topic'),
  ).action(async (name: string, options: CommonOptions) => {
    const description = await withClient(options, (client) => client.topics.describe(name))
    if (options.json) printJson(description)
    else printDescription(description)
  })
}

async function purge(name: string, options: PurgeOptions): Promise<void> {
  const { partition: partitions, yes } = options
  await withClient(options, async (client) => {
    const { partitions: found } = await client.topics.describe(name)
    const wanted = found.filter(({ partition }) => partitions?.includes(partition) ?? true)
    const messages = wanted.reduce((sum, { startOffset, endOffset }) => sum + endOffset - startOffset, 0)
    const isKnown = partitions === undefined || wanted.length === new Set(partitions).size
    // Without a purge: it could drop messages that arrive now and that nobody confirmed.
    if (!yes && isKnown && messages === 0) {
      const none = wanted.map(({ partition, startOffset }) => ({ partition, startOffset, dropped: 0 }))
      report(
        options,
        { topic: name, dropped: 0, partitions: none },
        `topic "${name}" has no messages to drop`,
      )
      return
    }
    if (!yes && !(await confirmed(`drop ${counted(messages)} of topic "${name}"?`, '--yes'))) {
      process.stderr.write('millrace: nothing was dropped\n')
      process.exitCode = exitCodes.failed
      return
    }
    const purged = await client.topics.purge(name, { partitions })
    const dropped = purged.reduce((sum, one) => sum + one.dropped, 0)
    report(
      options,
      { topic: name, dropped, partitions: purged },
      `dropped ${counted(dropped)} of topic "${name}"`,
    )
  })
}

function withSettings(command: Command): Command {
  return withCommon(command)
    .option('-p, --partitions <n>', 'number of partitions', wholeNumber(1))
    .option(
      '--retention-time <time>',
      'retention time of messages, like 7d, 12h or forever',
      durationOrForever,
    )
    .option('--retention-bytes <size>', 'retention size of each partition, like 10GB or unlimited', size)
    .option('--batch-bytes-max <size>', 'size limit of a batch, and so of a message', size)
    .option(
      '--dedupe-window <time>',
      'how long the broker remembers message ids to drop repeats, like 1h, at most 7d; 0: not at all',
      durationUpTo(limits.dedupeWindowMsMax),
    )
}

function settings({
  partitions,
  retentionTime,
  retentionBytes,
  batchBytesMax,
  dedupeWindow,
}: SettingsOptions): TopicOptions {
  return {
    partitions,
    retention: { time: retentionTime, bytes: retentionBytes },
    batchBytesMax,
    dedupeWindow,
  }
}

function report({ json }: CommonOptions, value: unknown, text: string): void {
  if (json) printJson(value)
  else process.stdout.write(`${text}\n`)
}

function retentionText({ settings: { retentionMs, retentionBytes } }: TopicSummary): string {
  return `kept ${formatDuration(retentionMs)}, ${formatBytes(retentionBytes)} a partition`
}

function printDescription({ topic, partitions }: TopicDescription): void {
  process.stdout.write(`${topic.name}: ${count(topic.partitions, 'partition')}, ${retentionText(topic)}, `)
  process.stdout.write(
    `batches up to ${formatBytes(topic.settings.batchBytesMax)}, ${dedupeText(topic)}created ${new Date(topic.createdAtMs).toISOString()}\n`,
  )
  const rows = partitions.map((one) => [
    one.partition,
    one.startOffset,
    one.endOffset,
    formatBytes(one.bytes),
    one.problem ?? '',
  ])
  printTable([['partition', 'start', 'end', 'bytes', ''], ...rows])
}

/** A broker that is older than the setting does not report it. */
function dedupeText({ settings: { dedupeWindowMs } }: TopicSummary): string {
  if (dedupeWindowMs === undefined) return ''
  return dedupeWindowMs === 0
    ? 'message ids not remembered, '
    : `message ids remembered ${formatDuration(dedupeWindowMs)}, `
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`
}
