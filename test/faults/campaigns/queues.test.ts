import { testShortCampaign } from '../short_campaign.js'
import { queues } from './queues.js'

testShortCampaign(queues)
