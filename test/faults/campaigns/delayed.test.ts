import { testShortCampaign } from '../short_campaign.js'
import { delayed } from './delayed.js'

testShortCampaign(delayed)
