import { type Block, type BlockHead, decodeBlock, decodeDamagedHead } from './block.js'
import type { Journal } from './journal.js'
import type { Checkpoint } from './state.js'

const scanBlocks = 64

/** What replay hands out, in the order of the journal. */
export interface ReplayTarget {
  block(block: Block): void
  /** A block of which only the head can be read: its batches are lost. */
  damagedBlock(head: BlockHead): void
  /** Something that was written can't be found, for people. */
  problem(text: string): void
}

/**
 * Walks what the engine holds behind the last block that the journal knows, and verifies that every block stands where it should, is whole, and follows
 * the one before it. Goes on behind damage: what can be read is handed out, what can't is reported.
 * @returns the last block, which new ones follow
 */
export async function replay(journal: Journal, target: ReplayTarget): Promise<Checkpoint> {
  let last = journal.last
  let linkKnown = true
  for (;;) {
    const blocks = await journal.scan(last.position + 1, scanBlocks)
    for (const { position, bytes } of blocks) {
      if (position !== last.position + 1) {
        target.problem(`blocks ${last.position + 1} to ${position - 1} of the journal are missing`)
        linkKnown = false
      }
      const block = readBlock(bytes, position, target)
      if (block === undefined) {
        linkKnown = false
        last = { position, link: 0 }
        continue
      }
      if (linkKnown && block.previousLink !== last.link) {
        target.problem(`block ${position} of the journal does not follow the block before it`)
      }
      linkKnown = true
      last = { position, link: block.link }
    }
    if (blocks.length < scanBlocks) return last
  }
}

function readBlock(bytes: Uint8Array, position: number, target: ReplayTarget): BlockHead | undefined {
  try {
    const block = decodeBlock(bytes, position)
    target.block(block)
    return block
  } catch (error) {
    target.problem(error instanceof Error ? error.message : String(error))
    const head = decodeDamagedHead(bytes, position)
    if (head !== undefined) target.damagedBlock(head)
    return head
  }
}
